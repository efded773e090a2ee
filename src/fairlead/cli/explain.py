"""`fairlead explain URL|SERVICE|POD|HPA`: which rule matched, who was a candidate, who was left out and why.

    fairlead explain http://my-app.localhost:8080/path     fairlead explain service/my-app-service
    fairlead explain pod/my-app-7d4b9c-x2k1p               fairlead explain hpa/my-app

The answer comes from the same pure functions that made the routing table, over the objects as they are now, and from
the engine's own word about endpoints that are ejected or draining.
"""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from typing import Any

import click

from fairlead.api import kinds
from fairlead.cli import failure, known, lbstats, options, remarks, remote, silence
from fairlead.client import errors, protocol
from fairlead.cluster import state
from fairlead.routing import draft, explain, interpret, paths, settings

Object = dict[str, Any]


@click.command("explain")
@options.name
@click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="For a URL: a request header.")
@click.option("-X", "--request", "method", default="GET", help="For a URL: the method.")
@click.argument("what", metavar="URL|service/NAME|pod/NAME|hpa/NAME")
def command(name: str, namespace: str, headers: tuple[str, ...], method: str, what: str) -> None:
    """Why traffic goes where it goes, and why an autoscaler does what it does."""
    asyncio.run(_explain(name, namespace, what, headers, method))


async def _explain(name: str, namespace: str, what: str, headers: tuple[str, ...], method: str) -> None:
    folder = state.StateFolder.of(name)
    async with remote.connect(name) as (client, _):
        if "://" in what:
            found, asked = await known.read(client, folder), _asked(what, headers, method)
            engine = await _engine(folder)
            refused = engine.get("refused", {})
            said = explain.request(found.translation, found.slices, **asked, out=_out(engine), refused=refused)
            _print(said)
            for text in _passed_over(found, asked["asked"].host):
                click.echo(f"  not {text}")
            inside = service_named(found, asked["asked"].host, namespace) if not said.rule else None
            if inside:
                click.echo(f"in the cluster (`fairlead curl`, pods) that host is the Service {'/'.join(inside)}:")
                await _explain_service(client, folder, *inside)
            return
        kind, _, target = what.rpartition("/")
        if kind in ("hpa", "horizontalpodautoscaler"):
            for text in hpa_lines(await client.get(kinds.HPA, target, namespace=namespace)):
                click.echo(text)
            for text in await _last_decision(client, namespace, target):
                click.echo(f"  {text}")
        elif kind in ("pod", "pods", "po"):
            await _explain_pod(client, folder, namespace, target)
        elif kind in ("", "svc", "service", "services"):
            await _explain_service(client, folder, namespace, target)
        else:
            raise failure.Failure(f"{what}: a URL, service/NAME, pod/NAME or hpa/NAME is expected")


async def _explain_service(client: protocol.Client, folder: state.StateFolder, namespace: str, name: str) -> None:
    try:
        await client.get(kinds.SERVICE, name, namespace=namespace)
    except errors.ApiError as error:
        hint = f"; for a URL say http://{name}/" if error.not_found and "." in name else ""
        raise failure.Failure(f"{error}{hint}") from None
    found = await known.read(client, folder)
    out = _out(await _engine(folder))
    said = explain.service(found.translation, found.slices, name=f"{namespace}/{name}", out=out)
    _print(said)
    if not any(one.candidates or one.left_out for one in said.backends):
        for text in await remarks.empty(client, found, {f"Service/{namespace}/{name}"}):
            click.echo(f"  no endpoint: {text.partition(': ')[2]}")
    if folder.read().network != "rootless":
        for door in await silence.silent(client, found.slices, {f"Service/{namespace}/{name}"}):
            click.echo(f"  but {door}: is that the port that it listens on (targetPort)?")


def service_named(found: known.Known, host: str, namespace: str) -> tuple[str, str] | None:
    """(namespace, name) of the Service that this host is to a pod of the namespace: by its name or an address of it."""
    labels = host.removesuffix(".").removesuffix(".cluster.local").removesuffix(".svc").split(".")
    named = (labels[1] if len(labels) == 2 else namespace, labels[0]) if len(labels) <= 2 else None
    for one in found.snapshot.services:
        title = (one["metadata"]["namespace"], one["metadata"]["name"])
        if title == named or host in (one["spec"].get("clusterIPs") or ()):
            return title
    return None


def _passed_over(found: known.Known, host: str) -> list[str]:
    """The Ingresses that name this host and are not carried here."""
    lines = []
    for one in found.snapshot.ingresses:
        title = draft.key(one)
        hosts = {rule.get("host") for rule in one["spec"].get("rules") or ()}
        if host in hosts and title not in found.carried:
            why = [str(problem) for problem in found.translation.problems if problem.object == f"Ingress/{title}"]
            lines += why or [f"Ingress/{title}: it is of class {one['spec'].get('ingressClassName', '')!r}"]
    return lines


def _asked(url: str, headers: tuple[str, ...], method: str) -> dict[str, Any]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise failure.Failure(f"{url}: http://HOST/PATH or https://HOST/PATH is expected")
    given = {key.strip().lower(): value.strip() for key, _, value in (text.partition(":") for text in headers)}
    path = paths.normal(parts.path or "/")
    if path is None:
        raise failure.Failure(f"{url}: its path is answered with 400 (dot segments, or a malformed escape)")
    request = interpret.HttpRequest(
        host=given.get("host", parts.hostname),
        path=path,
        method=method,
        headers=given,
        query=dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True)),
    )
    return {"listener": f"edge-{parts.scheme}", "asked": request}


async def _engine(folder: state.StateFolder) -> Object:
    """What the engine says of itself; nothing where it does not answer."""
    try:
        found: Object = json.loads(await lbstats.fetch(str(folder.run / "stats.sock"), "/stats"))
    except (OSError, ValueError):
        return {}
    return found


def _out(engine: Object) -> dict[str, str]:
    """Addresses that the engine does not use now, with its reason."""
    return {
        place.rpartition(":")[0].strip("[]"): f"by the engine: {lbstats.state(endpoint)}"
        for backend in engine.get("backends", {}).values()
        for place, endpoint in backend.get("endpoints", {}).items()
        if endpoint["state"] != "ready"
    }


def _print(said: explain.Explanation) -> None:
    click.echo(said.verdict + (f" by {said.rule}" if said.rule else ""))
    for backend in said.backends:
        click.echo(f"  backend {backend.backend}, weight {backend.weight}, {backend.algorithm}: {backend.next}")
        why = f" ({backend.carrier_reason})" if backend.carrier_reason else ""
        click.echo(f"    carried by {backend.carrier}{why}")
        for one in backend.candidates:
            click.echo(f"    candidate {settings.bracketed(one.address)}:{one.port} {one.name}")
        for left in backend.left_out:
            click.echo(f"    left out  {settings.bracketed(left.address)}:{left.port} {left.name}: {left.reason}")
    for text in said.because:
        click.echo(f"  because {text}")
    for text in said.rejected:
        click.echo(f"  not {text}")


async def _explain_pod(client: protocol.Client, folder: state.StateFolder, namespace: str, name: str) -> None:
    """The pod's conditions, and what it is to each Service that selects it."""
    pod = await client.get(kinds.POD, name, namespace=namespace)
    status = pod.get("status", {})
    click.echo(f"pod {namespace}/{name}: {status.get('phase', 'Pending')}, address {status.get('podIP', 'none yet')}")
    for condition in status.get("conditions", ()):
        if condition["status"] != "True":
            why = condition.get("message") or condition.get("reason", "")
            click.echo(f"  {condition['type']} is {condition['status']}: {why}")
    found = await known.read(client, folder)
    translation, slices = found.translation, found.slices
    title, selected, out = f"{namespace}/{name}", False, _out(await _engine(folder))
    for service in translation.sources:
        said = explain.service(translation, slices, name=service, out=out)
        for backend in said.backends:
            if any(one.name == title for one in backend.candidates):
                click.echo(f"  candidate of {backend.backend}")
                selected = True
            for left in backend.left_out:
                if left.name == title:
                    click.echo(f"  left out of {backend.backend}: {left.reason}")
                    selected = True
    if not selected:
        click.echo("  no Service selects it")


async def _last_decision(client: protocol.Client, namespace: str, name: str) -> list[str]:
    """Each metric's samples, what it asked for and what held it back; nothing where no decision was made yet."""
    from fairlead.api.kinds import Kind
    from fairlead.controllers.autoscaling import explaining

    kind = Kind(explaining.GROUP, explaining.VERSION, explaining.KIND, "horizontalpodautoscalers")
    try:
        return explaining.text(await client.get(kind, name, namespace=namespace))
    except errors.ApiError as error:
        if error.not_found:
            return []
        raise


def hpa_lines(hpa: Object) -> list[str]:
    """What an autoscaler measured, wants, and what holds it back."""
    spec, status, metadata = hpa["spec"], hpa.get("status", {}), hpa["metadata"]
    target = spec["scaleTargetRef"]
    found = [
        f"hpa {metadata['namespace']}/{metadata['name']} scales {target['kind']}/{target['name']} "
        f"between {spec.get('minReplicas', 1)} and {spec['maxReplicas']}",
        f"  replicas {status.get('currentReplicas', 0)}, wanted {status.get('desiredReplicas', 0)}, "
        f"last changed {status.get('lastScaleTime', 'never')}",
    ]
    for metric in spec.get("metrics", ()):
        found.append(f"  metric {json.dumps(metric, sort_keys=True)}")
    for metric in status.get("currentMetrics") or ():
        found.append(f"  measured {json.dumps(metric, sort_keys=True)}")
    for condition in status.get("conditions", ()):
        reason, message = condition.get("reason", ""), condition.get("message", "")
        found.append(f"  {condition['type']} {condition['status']} ({reason}): {message}")
    return found
