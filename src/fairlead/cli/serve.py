"""`fairlead serve`: the background process of `up -d`, and what a systemd unit runs. It says `ready` (or why not) on
--ready-fd, and `READY=1` to systemd (sd_notify(3))."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import click

from fairlead.base import log
from fairlead.cli import notify, options, serving
from fairlead.cluster import config, errors, state, wiring


@click.command("serve", hidden=True)
@options.name
@options.serving
@click.option("--ready-fd", type=int, default=-1)
@click.option("--log-level", default="info")
def command(name: str, ready_fd: int, log_level: str, **how: Any) -> None:
    """Run a cluster until SIGTERM."""
    if ready_fd >= 0:
        os.set_inheritable(ready_fd, False)  # `up` waits for its end: the engine must not hold it open
    log.configure(level=log_level)
    folder = state.StateFolder.of(name)
    notifier = notify.Notifier(os.environ)

    async def work(cluster: wiring.Cluster, stop: asyncio.Event) -> None:
        folder.remember(how)
        _tell(ready_fd, "ready")
        notifier.tell("READY=1")
        await stop.wait()

    try:
        serving.run(folder, options.configured(name, ephemeral=False, **how), work, notifier=notifier)
    except (errors.CannotStart, config.AddressError, state.StateError) as error:
        _tell(ready_fd, str(error))
        if ready_fd < 0:
            click.echo(str(error), err=True)
        raise SystemExit(1) from None
    except Exception as error:  # the log that tells more may be on the disk that is full
        _tell(ready_fd, f"the cluster did not start: {type(error).__name__}: {error}; see {folder.log}")
        raise


def _tell(descriptor: int, word: str) -> None:
    if descriptor >= 0:
        with contextlib.suppress(OSError):  # told already, or nobody waits any more
            os.write(descriptor, word.encode() + b"\n")
            os.close(descriptor)
