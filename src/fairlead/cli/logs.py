"""`fairlead logs`: what a pod prints, or all pods of a workload with their names in front.

Of several pods one that has nothing to say yet (it waits, or has just gone) is told on standard error, and the others
go on. A bare name is a pod's, else a workload's of that name.
"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from fairlead.api import kinds, selectors
from fairlead.cli import failure, options, remote
from fairlead.client import errors, https, protocol

_WORKLOADS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICA_SET, kinds.JOB)


@click.command("logs")
@options.name
@click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
@click.option("-f", "--follow", is_flag=True, help="Go on as it prints.")
@click.option("--tail", default=-1, help="Only the last lines.")
@click.option("--previous", is_flag=True, help="The container's life before this one.")
@click.option("--timestamps", is_flag=True, help="When each line was printed.")
@click.argument("what")
def command(name: str, namespace: str, what: str, **how: Any) -> None:
    """Logs of POD, or of every pod of deployment/NAME (statefulset/, daemonset/, replicaset/, job/)."""
    asyncio.run(_logs(name, namespace, what, how))


async def _logs(name: str, namespace: str, what: str, how: dict[str, Any]) -> None:
    async with remote.connect(name) as (client, send):
        pods = await _pods(client, namespace, what)
        if not pods:
            raise failure.Failure(f"{what}: no pods in namespace {namespace!r}")
        width = max(len(pod) for pod in pods)
        prefixes = {pod: f"{pod:{width}} | " if len(pods) > 1 else "" for pod in pods}
        said = await asyncio.gather(*(_told(send, namespace, pod, how, prefix) for pod, prefix in prefixes.items()))
        if not any(said):
            raise SystemExit(1)


async def _pods(client: protocol.Client, namespace: str, what: str) -> list[str]:
    kind, _, name = what.rpartition("/")
    if kind in ("pod", "pods", "po"):
        return [name]
    if not kind:
        return await _bare(client, namespace, name)
    known = next((one for one in _WORKLOADS if kind in (one.kind.lower(), one.plural, *one.short_names)), None)
    if known is None:
        words = ", ".join(f"{one.kind.lower()}/NAME" for one in _WORKLOADS)
        raise failure.Failure(f"{what}: POD or one of {words} is expected")
    return await _of(client, namespace, await client.get(known, name, namespace=namespace))


async def _bare(client: protocol.Client, namespace: str, name: str) -> list[str]:
    for kind in (kinds.POD, *_WORKLOADS):
        try:
            found = await client.get(kind, name, namespace=namespace)
        except errors.ApiError as error:
            if not error.not_found:
                raise
        else:
            return [name] if kind is kinds.POD else await _of(client, namespace, found)
    raise failure.Failure(f"{name}: no pod and no workload of this name in namespace {namespace!r}")


async def _of(client: protocol.Client, namespace: str, workload: dict[str, Any]) -> list[str]:
    selector = selectors.from_object(workload["spec"].get("selector"))
    if selector.nothing:
        return []
    pods = await client.list(kinds.POD, namespace=namespace, label_selector=str(selector))
    return [pod["metadata"]["name"] for pod in pods.items]


async def _told(send: https.HttpsExchange, namespace: str, pod: str, how: dict[str, Any], prefix: str) -> bool:
    """Whether the pod's log could be read; if not, why is told."""
    try:
        await _one(send, namespace, pod, how, prefix)
    except errors.ApiError as error:
        click.echo(f"{click.style('error', fg='red')}: {error}", err=True)
        return False
    return True


async def _one(send: https.HttpsExchange, namespace: str, pod: str, how: dict[str, Any], prefix: str) -> None:
    query = {"follow": "true"} if how["follow"] else {}
    query |= {"tailLines": str(how["tail"])} if how["tail"] >= 0 else {}
    query |= {flag: "true" for flag in ("previous", "timestamps") if how[flag]}
    async for text in remote.lines(send, kinds.POD.path(namespace, pod, "log"), query):
        click.echo(prefix + text)
