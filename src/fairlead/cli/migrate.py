"""`fairlead migrate ingress-nginx`: object by object, what stays the same, what differs, what is refused.

Reads manifests (-f, files or folders, - is standard input) or a cluster (--kubeconfig), and changes nothing. Exit
status 0: all the same; 1: something differs; 2: something is refused; 3: a part of the input cannot be read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from fairlead.api import kinds, manifest
from fairlead.routing import migrate, settings

_ENDINGS = (".yaml", ".yml", ".json")
_OTHERS = ("fairlead.yaml", "kustomization.yaml", "kustomization.yml", "Chart.yaml")
_COLORS = {"same": "green", "differs": "yellow", "refused": "red"}
_UNREADABLE = 3
_CLASS = "give an IngressClass with the controller k8s.io/ingress-nginx, too, and its Ingresses are judged"
_REFUSED = (
    "refused: not carried out here. Only where it says 503 are paths closed; elsewhere the rest of the object works"
)


@click.group("migrate")
def command() -> None:
    """The way in from other controllers."""


@command.command("ingress-nginx")
@click.option("-f", "paths", multiple=True, metavar="FILE|DIR|-", help="Manifests; folders are read with all below.")
@click.option("--kubeconfig", "use_cluster", is_flag=True, help="Read the cluster of $KUBECONFIG instead.")
@click.option("--context", default="", help="The kubeconfig's context.")
@click.option("--config", default=settings.Settings().ingress_nginx_config, show_default=True, help="The ConfigMap.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="For people, or for programs."
)
@click.option("-q", "--quiet", is_flag=True, help="Leave out what stays the same.")
def ingress_nginx(
    paths: tuple[str, ...], use_cluster: bool, context: str, config: str, output: str, quiet: bool
) -> None:
    """Says what of ingress-nginx' manifests stays the same, differs or is refused; exits 0, 1 or 2."""
    if bool(paths) == (use_cluster or bool(context)):
        raise click.UsageError("give either -f FILE|DIR or --kubeconfig")
    try:
        given = _from_files(paths) if paths else _Given(asyncio.run(_from_cluster(context)))
    except (OSError, _ClusterError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        click.echo(f"error: {text}", err=True)
        sys.exit(_UNREADABLE)
    if given.objects or not given.unread:
        found = migrate.report(given.objects, config=config)
        text = _as_json(found, given) if output == "json" else _as_text(found, given.places, quiet=quiet)
        click.echo(text)
    for one in given.unread:
        click.echo(f"error: {one}", err=True)
    sys.exit(_UNREADABLE if given.unread else found.exit_status)


@dataclass
class _Given:
    """The objects, where they are written (by Kind/namespace/name), and what could not be read."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add(self, content: bytes, source: str) -> None:
        try:
            found = manifest.load_manifests(content, source=source)
        except manifest.ManifestError as error:
            template = "; a template is to be rendered first: helm template … | fairlead migrate ingress-nginx -f -"
            self.unread.append(f"{error}{template if b'{{' in content else ''}")
            return
        for one in found:
            meta = one.object["metadata"]
            name = f"{one.object['kind']}/{meta.get('namespace') or 'default'}/{meta.get('name', '')}"
            self.objects.append(one.object)
            self.places[name] = f"{one.source}:{one.line}"


def _from_files(paths: tuple[str, ...]) -> _Given:
    given = _Given()
    for path in paths:
        if path == "-":
            given.add(sys.stdin.buffer.read(), "-")
            continue
        place = Path(path)
        files = sorted(filter(_is_manifest, place.rglob("*"))) if place.is_dir() else [place]
        for file in files:
            given.add(file.read_bytes(), str(file))
    return given


def _is_manifest(file: Path) -> bool:
    return file.suffix in _ENDINGS and file.is_file() and file.name not in _OTHERS


class _ClusterError(Exception):
    """The cluster cannot be read."""


async def _from_cluster(context: str) -> list[dict[str, Any]]:
    from fairlead.client import errors, https, kubeconfig

    try:
        client, exchange = https.client(kubeconfig.load(kubeconfig.find(os.environ), context=context))
    except kubeconfig.KubeconfigError as error:
        raise _ClusterError(str(error)) from None
    try:
        found = []
        for kind in (kinds.INGRESS, kinds.INGRESS_CLASS, kinds.SERVICE, kinds.CONFIG_MAP):
            listed = await client.list(kind)
            found += [{"kind": kind.kind, **one} for one in listed.items]  # Secrets are never asked for
    except errors.ApiError as error:
        raise _ClusterError(str(error)) from None
    else:
        return found
    finally:
        await exchange.close()


def _as_text(found: migrate.Report, places: Mapping[str, str], *, quiet: bool) -> str:
    lines = []
    for item in found.items:
        notes = [note for note in item.notes if not quiet or note.verdict != "same"]
        if quiet and not notes:
            continue
        lines.append(
            f"{click.style(item.verdict.ljust(8), fg=_COLORS[item.verdict])} {item.object}{_at(places, item.object)}"
        )
        lines += [f"         {click.style(note.verdict, fg=_COLORS[note.verdict])}: {_line(note)}" for note in notes]
    if found.assumed:
        lines.append(f"taken to exist, not among these manifests: {', '.join(found.assumed)}")
    if found.skipped:
        lines.append(f"not of class nginx: {', '.join(found.skipped)}; {_CLASS}")
    lines += found.hints
    if found.verdict == "refused":
        lines.append(_REFUSED)
    counts = {verdict: sum(item.verdict == verdict for item in found.items) for verdict in _COLORS}
    lines.append(f"{counts['same']} the same, {counts['differs']} with differences, {counts['refused']} with refusals")
    return "\n".join(lines)


def _at(places: Mapping[str, str], name: str) -> str:
    return f"  ({places[name]})" if name in places else ""


def _line(note: migrate.Note) -> str:
    return f"{note.path}: {note.text}" if note.path else note.text


def _as_json(found: migrate.Report, given: _Given) -> str:
    items = [
        {
            "object": one.object,
            "verdict": one.verdict,
            "place": given.places.get(one.object, ""),
            "notes": [asdict(n) for n in one.notes],
        }
        for one in found.items
    ]
    rest = {"assumed": found.assumed, "skipped": found.skipped, "hints": found.hints, "unread": given.unread}
    return json.dumps({"verdict": found.verdict, "items": items, **rest}, indent=2)
