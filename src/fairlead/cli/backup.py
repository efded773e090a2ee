"""`fairlead backup FILE`: every object of a cluster in one file, whether the cluster runs or not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from fairlead.cli import failure, options, remote
from fairlead.client import exchange, rest
from fairlead.cluster import backup, state

PATH = "/fairlead/backup"


@click.command("backup")
@options.name
@click.argument("file", type=click.Path(path_type=Path))
def command(name: str, file: Path) -> None:
    """Write every object of the cluster, Secrets included, to FILE (mode 0600). A running cluster goes on meanwhile."""
    try:
        folder = state.StateFolder.of(name)
        backup.refuse_existing(file)
        if folder.holder():
            asyncio.run(_running(name, file))
        else:
            backup.save_stopped(folder, file)
    except (backup.BackupError, state.StateError) as error:
        raise failure.Failure(str(error)) from None
    click.echo(f"cluster {name!r} is saved in {file} ({file.stat().st_size:,} bytes)")


async def _running(name: str, file: Path) -> None:
    async with remote.connect(name) as (_, send):
        answer = await send(exchange.Request("GET", PATH, (("follow", "true"),)))
        if answer.status != 200 or answer.stream is None:
            raise rest.failure(answer)
        try:
            await backup.save(answer.stream, file)
        finally:
            await answer.close()
