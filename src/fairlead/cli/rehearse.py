"""`fairlead up --dry-run`: what would be created, changed and routed, and every mistake; nothing is started or changed.

The manifests are really applied, but to a copy of the cluster's objects (cluster/rehearsal.py), and translated by the
same functions as ever. So defaults, validation, admission, conflicts of node ports and warnings are those of the real
thing. What only a running pod can tell (whether its command works) is not known here.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import click

from fairlead.api import kinds
from fairlead.cli import addresses, apply, bringup, failure, known
from fairlead.client import errors, exchange, protocol
from fairlead.cluster import backup, config, imagefile, rehearsal, state
from fairlead.cluster import errors as cannot
from fairlead.routing import emptiness

Object = dict[str, Any]
_NOT_SAID = {"resourceVersion", "managedFields", "generation", "uid", "creationTimestamp"}
_PATHS = 5
_POD_KINDS = (kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.REPLICA_SET)
_RUNNING_ITSELF = "gives its command itself"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is asked: the plan, and the cluster that it is for."""

    plan: bringup.Plan
    wanted: config.ClusterConfig

    async def run(self) -> None:
        """Prints it all. Raises Failure with every refusal."""
        folder = self.plan.folder
        running = bool(folder.holder())
        record = folder.read() if running else _record(self.wanted)
        try:
            async with _copied(folder, running, self.wanted.ip_family) as (client, copy):
                before = [await _found(client, one) for one in self.plan.planned]
                applied = await apply.apply(client, self.plan.planned)
                for one, old, new in zip(self.plan.planned, before, applied.written, strict=True):
                    bringup.say(_verdict(one, old, new))
                found = await known.read(client, copy, record)
                for text in routes(found, self.plan.planned, record):
                    bringup.say(f"route     {text}")
                for text in self._images(folder):
                    bringup.say(f"image     {text}")
                for text in [
                    *applied.warnings,
                    *_problems(found, self.plan.planned),
                    *await _empty(client, found, self.plan.planned),
                ]:
                    bringup.say(f"{click.style('warning', fg='yellow')}   {text}")
        except (backup.BackupError, state.StateError, cannot.CannotStart) as error:
            raise failure.Failure(str(error)) from None
        bringup.say("nothing was started or changed (--dry-run)")

    def _images(self, folder: state.StateFolder) -> list[str]:
        """Which command runs each image of these manifests."""
        entries = {**imagefile.read(folder.images).entries, **self.plan.entries}
        mapped = imagefile.mapped(entries)
        lines: dict[str, str] = {}
        for one in self.plan.planned:
            for container in _containers(one):
                image = container.get("image", "")
                found = mapped.find(image)
                if found is not None:
                    lines[image] = f"{image}: {shlex.join(found.command)}"
                elif container.get("command"):
                    lines.setdefault(image, f"{image}: {_RUNNING_ITSELF}: {shlex.join(container['command'])}")
                else:
                    lines[image] = f"{image}: nothing maps it to a command; Podman or Docker has to run it"
        return list(lines.values())


def _record(wanted: config.ClusterConfig) -> state.Record:
    """What a cluster that is started like this would remember of itself, as far as routes depend on it."""
    return state.Record(
        network=wanted.network if wanted.network != "auto" else "kernel",
        edge_http=list(wanted.http),
        edge_https=list(wanted.https),
        ingress_nginx=wanted.ingress_nginx,
    )


@contextlib.asynccontextmanager
async def _copied(
    folder: state.StateFolder, running: bool, ip_family: str
) -> AsyncIterator[tuple[protocol.Client, state.StateFolder]]:
    if not running:
        async with rehearsal.of(folder, None, ip_family) as made:
            yield made
        return
    from fairlead.cli import backup as saving
    from fairlead.cli import remote

    async with remote.connect(folder.name) as (_, send):
        answer = await send(exchange.Request("GET", saving.PATH, (("follow", "true"),)))
        if answer.stream is None:
            raise failure.Failure(f"cluster {folder.name!r} runs, and sends no copy of its objects")
        try:
            async with rehearsal.of(folder, answer.stream) as made:
                yield made
        finally:
            await answer.close()


async def _found(client: protocol.Client, one: apply.Planned) -> Object | None:
    if not one.name:
        return None
    try:
        return await client.get(one.kind, one.name, namespace=one.namespace)
    except errors.ApiError as error:
        if error.not_found:
            return None
        raise


def _verdict(one: apply.Planned, old: Object | None, new: Object) -> str:
    if old is None:
        return f"create    {one.item.title}"
    paths = list(changes(_said(old), _said(new)))
    if not paths:
        return f"same      {one.item.title}"
    more = f" and {len(paths) - _PATHS} more" if len(paths) > _PATHS else ""
    return f"change    {one.item.title}: {', '.join(paths[:_PATHS])}{more}"


def _said(obj: Object) -> Object:
    """An object without its status and what the server counts."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _NOT_SAID}
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}


def changes(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The field paths at which two objects differ. Pure."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changes(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from changes(before, after, f"{path}[{index}]")
    elif old != new:
        yield path


def routes(found: known.Known, planned: list[apply.Planned], record: state.Record) -> list[str]:
    """Where requests at the edge would go: a line for each path of these Ingresses."""
    mine = {f"{one.namespace}/{one.name}" for one in planned if one.kind is kinds.INGRESS}
    lines = []
    for ingress in found.snapshot.ingresses:
        metadata, spec = ingress["metadata"], ingress.get("spec", {})
        title = f"{metadata['namespace']}/{metadata['name']}"
        if title not in mine or title not in found.carried:
            continue
        urls = [url for url, _ in addresses.ingress_urls([ingress], record)]
        for url, rule in zip(urls, spec.get("rules") or [{}], strict=True):
            for path in (rule.get("http") or {}).get("paths") or ():
                where = f"{url.rstrip('/')}{path.get('path') or '/'}"
                lines.append(
                    f"{where} ({path.get('pathType', '')}) -> {_target(metadata['namespace'], path['backend'])}"
                )
        if default := spec.get("defaultBackend"):
            lines.append(f"everything else of Ingress/{title} -> {_target(metadata['namespace'], default)}")
    return lines


def _target(namespace: str, backend: Object) -> str:
    service = backend.get("service") or {}
    port = service.get("port") or {}
    return f"Service/{namespace}/{service.get('name', '')}:{port.get('name') or port.get('number', '')}"


def _problems(found: known.Known, planned: list[apply.Planned]) -> list[str]:
    titles = {f"{one.kind.kind}/{one.namespace}/{one.name}" for one in planned if one.namespace}
    return [str(one) for one in found.translation.problems if one.object in titles]


async def _empty(client: protocol.Client, found: known.Known, planned: list[apply.Planned]) -> list[str]:
    """The Services among them that no pod of any workload's template fits."""
    pods = (await client.list(kinds.POD)).items
    for kind in _POD_KINDS:
        for workload in (await client.list(kind)).items:
            template = workload["spec"]["template"]
            metadata = {**(template.get("metadata") or {}), "namespace": workload["metadata"]["namespace"]}
            pods.append({"metadata": metadata, "spec": template["spec"]})
    mine = {(one.namespace, one.name) for one in planned if one.kind is kinds.SERVICE}
    lines = []
    for service in found.snapshot.services:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        if (namespace, name) in mine and service["spec"].get("selector"):
            reason = emptiness.reason(service, [pod for pod in pods if pod["metadata"]["namespace"] == namespace])
            lines += [f"Service/{namespace}/{name}: {reason}"] if reason else []
    return lines


def _containers(one: apply.Planned) -> list[Object]:
    spec: Object = one.item.object.get("spec") or {}
    if one.kind is kinds.CRON_JOB:
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    inner = spec if one.kind is kinds.POD else (spec.get("template") or {}).get("spec") or {}
    return [*(inner.get("initContainers") or ()), *(inner.get("containers") or ())]
