"""`fairlead migrate ingress-nginx`: object by object, what stays the same, what differs, what is refused.

Reads manifests (-f, files or folders, - is standard input) or a cluster (--kubeconfig), and changes nothing. Exit
status 0: all the same; 1: something differs; 2: something is refused; 3: the input cannot be read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fairlead.api import kinds, manifest
from fairlead.routing import migrate, settings

_ENDINGS = (".yaml", ".yml", ".json")
_OTHERS = ("fairlead.yaml", "kustomization.yaml", "kustomization.yml", "Chart.yaml")
_COLORS = {"same": "green", "differs": "yellow", "refused": "red"}
_UNREADABLE = 3


@click.group("migrate")
def command() -> None:
    """The way in from other controllers."""


@command.command("ingress-nginx")
@click.option("-f", "paths", multiple=True, metavar="FILE|DIR|-", help="Manifests; folders are read with all below.")
@click.option("--kubeconfig", "use_cluster", is_flag=True, help="Read the cluster of $KUBECONFIG instead.")
@click.option("--context", default="", help="The kubeconfig's context.")
@click.option("--config", default=settings.Settings().ingress_nginx_config, show_default=True, help="The ConfigMap.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.option("-q", "--quiet", is_flag=True, help="Leave out what stays the same.")
def ingress_nginx(
    paths: tuple[str, ...], use_cluster: bool, context: str, config: str, output: str, quiet: bool
) -> None:
    """Says what of ingress-nginx' manifests stays the same, differs or is refused; exits 0, 1 or 2."""
    if bool(paths) == (use_cluster or bool(context)):
        raise click.UsageError("give either -f FILE|DIR or --kubeconfig")
    try:
        objects = list(_from_files(paths)) if paths else asyncio.run(_from_cluster(context))
    except (manifest.ManifestError, OSError, _ClusterError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        click.echo(f"error: {text}", err=True)
        sys.exit(_UNREADABLE)
    found = migrate.report(objects, config=config)
    click.echo(_as_json(found) if output == "json" else _as_text(found, quiet=quiet))
    sys.exit(found.exit_status)


def _from_files(paths: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for path in paths:
        if path == "-":
            yield from (one.object for one in manifest.load_manifests(sys.stdin.buffer.read(), source="-"))
            continue
        place = Path(path)
        files = sorted(filter(_is_manifest, place.rglob("*"))) if place.is_dir() else [place]
        for file in files:
            yield from (one.object for one in manifest.load_manifests(file.read_bytes(), source=str(file)))


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


def _as_text(found: migrate.Report, *, quiet: bool) -> str:
    lines = []
    for item in found.items:
        notes = [note for note in item.notes if not quiet or note.verdict != "same"]
        if quiet and not notes:
            continue
        lines.append(f"{click.style(item.verdict.ljust(8), fg=_COLORS[item.verdict])} {item.object}")
        lines += [f"         {click.style(note.verdict, fg=_COLORS[note.verdict])}: {_line(note)}" for note in notes]
    if found.assumed:
        lines.append(f"taken to exist, not among these manifests: {', '.join(found.assumed)}")
    if found.skipped:
        lines.append(f"not of class nginx: {', '.join(found.skipped)}")
    counts = {verdict: sum(item.verdict == verdict for item in found.items) for verdict in _COLORS}
    lines.append(f"{counts['same']} the same, {counts['differs']} with differences, {counts['refused']} with refusals")
    return "\n".join(lines)


def _line(note: migrate.Note) -> str:
    return f"{note.path}: {note.text}" if note.path else note.text


def _as_json(found: migrate.Report) -> str:
    items = [
        {"object": one.object, "verdict": one.verdict, "notes": [asdict(n) for n in one.notes]} for one in found.items
    ]
    return json.dumps(
        {"verdict": found.verdict, "items": items, "assumed": found.assumed, "skipped": found.skipped}, indent=2
    )
