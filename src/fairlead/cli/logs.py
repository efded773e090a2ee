"""`fairlead logs`: what a pod prints, or all pods of a workload with their names in front."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from fairlead.api import kinds
from fairlead.cli import failure, options, remote
from fairlead.client import https, protocol

_WORKLOADS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICA_SET, kinds.JOB)


@click.command("logs")
@options.name
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on as it prints.")
@click.option("--tail", default=-1, help="Only the last lines.")
@click.option("--previous", is_flag=True, help="The container's life before this one.")
@click.option("--timestamps", is_flag=True)
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
        await asyncio.gather(*(_one(send, namespace, pod, how, prefix) for pod, prefix in prefixes.items()))


async def _pods(client: protocol.Client, namespace: str, what: str) -> list[str]:
    kind, _, name = what.rpartition("/")
    if kind in ("", "pod", "pods", "po"):
        return [name]
    known = next((one for one in _WORKLOADS if kind in (one.kind.lower(), one.plural, *one.short_names)), None)
    if known is None:
        words = ", ".join(f"{one.kind.lower()}/NAME" for one in _WORKLOADS)
        raise failure.Failure(f"{what}: POD or one of {words} is expected")
    found = await client.get(known, name, namespace=namespace)
    labels = ",".join(f"{key}={value}" for key, value in found["spec"]["selector"].get("matchLabels", {}).items())
    pods = await client.list(kinds.POD, namespace=namespace, label_selector=labels)
    return [pod["metadata"]["name"] for pod in pods.items]


async def _one(send: https.HttpsExchange, namespace: str, pod: str, how: dict[str, Any], prefix: str) -> None:
    query = {"follow": "true"} if how["follow"] else {}
    query |= {"tailLines": str(how["tail"])} if how["tail"] >= 0 else {}
    query |= {flag: "true" for flag in ("previous", "timestamps") if how[flag]}
    async for text in remote.lines(send, kinds.POD.path(namespace, pod, "log"), query):
        click.echo(prefix + text)
