"""`fairlead status`: what runs, on which network and why, where it is reached and by whom."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from fairlead.api import kinds
from fairlead.cli import addresses, options, remote
from fairlead.cluster import state


@click.command("status")
@options.name
def command(name: str) -> None:
    """What runs, how it is reached, and by whom."""
    folder = state.StateFolder.of(name)
    if not folder.holder():
        click.echo(f"cluster {name!r} does not run" + (f" (state kept in {folder.path})" if folder.exists() else ""))
        raise SystemExit(3)
    asyncio.run(_status(name, folder))


async def _status(name: str, folder: state.StateFolder) -> None:
    record = folder.read()
    click.echo(f"cluster   {name} (pid {folder.holder()}), up {_span(time.time() - record.started_at)}")
    click.echo(f"network   {record.network}: {record.network_reason}")
    if record.connect_time:
        click.echo(f"connect   {record.connect_time}")
    click.echo(f"state     {folder.path}")
    async with remote.connect(name) as (client, _):
        for text in await addresses.lines(client, record, folder):
            click.echo(text)
        for word, kind in (("deploy", kinds.DEPLOYMENT), ("pods", kinds.POD), ("hpa", kinds.HPA)):
            found = await client.list(kind)
            click.echo(f"{word:9} {_counts(kind, found.items)}")


def _counts(kind: kinds.Kind, items: list[dict[str, Any]]) -> str:
    if kind is not kinds.POD:
        return f"{len(items)}" + "".join(
            f"  {item['metadata']['namespace']}/{item['metadata']['name']}" for item in items
        )
    ready = sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in item.get("status", {}).get("conditions", ()))
        for item in items
    )
    return f"{ready}/{len(items)} ready"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
