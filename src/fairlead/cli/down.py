"""`fairlead down`: drains, ends every pod and the engine, removes all that runs; keeps the state unless --purge.

Works without a running fairlead too: what a killed one left behind is found from the state folder and removed.
"""

from __future__ import annotations

import os
import select
import signal

import click

from fairlead.cli import failure, options
from fairlead.cluster import state, teardown


@click.command("down")
@options.name
@click.option("--purge", is_flag=True, help="Remove the state, too (objects, certificates, token, logs).")
@click.option("--force", is_flag=True, help="Do not drain; kill at once.")
@click.option("--timeout", default=120.0, show_default=True, metavar="SECONDS", help="How long a gentle end may take.")
def command(name: str, purge: bool, force: bool, timeout: float) -> None:
    """Take the cluster down; nothing that runs stays behind."""
    try:
        folder = state.StateFolder.of(name)
    except state.StateError as error:
        raise failure.Failure(str(error)) from None
    if not folder.exists():
        click.echo(f"cluster {name!r} is not there ({folder.path})")
        return
    pid = folder.holder()
    if pid > 0:
        _end(pid, force=force, timeout_seconds=timeout)
    for text in teardown.sweep(folder):
        click.echo(text)
    if purge:
        folder.remove()
    click.echo(
        f"cluster {name!r} is down" + ("" if purge else f"; its state is kept in {folder.path} (--purge removes it)")
    )


def _end(pid: int, *, force: bool, timeout_seconds: float) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if force:  # another signal: two equal ones would be one
            signal.pidfd_send_signal(descriptor, signal.SIGINT)
        if not select.select([descriptor], [], [], timeout_seconds)[0]:
            raise failure.Failure(f"fairlead (pid {pid}) has not ended within {timeout_seconds:.0f} s; try --force")
    finally:
        os.close(descriptor)
