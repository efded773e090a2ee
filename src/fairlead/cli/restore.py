"""`fairlead restore FILE`: a backup takes the place of a stopped cluster's objects."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.cli import failure, options
from fairlead.cluster import backup, state


@click.command("restore")
@options.name
@click.argument("file", type=click.Path(path_type=Path))
def command(name: str, file: Path) -> None:
    """Put the objects saved in FILE in the place of the cluster's own, which are kept. The cluster must be down."""
    try:
        folder = state.StateFolder.of(name)
        if pid := folder.holder():
            raise failure.Failure(
                f"cluster {name!r} is running (pid {pid}): its objects cannot be replaced under it; run: "
                f"fairlead down --name {name}"
            )
        old = backup.put_back(folder, file)
    except (backup.BackupError, state.StateError) as error:
        raise failure.Failure(str(error)) from None
    click.echo(f"cluster {name!r} has the objects of {file}" + (f"; what it had is kept in {old}" if old else ""))
