"""`fairlead up`: manifests in, traffic flowing. In the foreground until Ctrl-C, or with -d in the background."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

import fairlead
from fairlead.base import clock as clocks
from fairlead.base import log
from fairlead.cli import addresses, apply, failure, images, options, progress, serving, source
from fairlead.client import protocol
from fairlead.cluster import config, errors, imagefile, state, wiring


@click.command("up")
@options.name
@options.serving
@click.option("-d", "--detach", is_flag=True, help="Run in the background; `fairlead down` ends it.")
@click.option("--keep", is_flag=True, help="In the foreground: keep the state for the next start.")
@click.option("--image", "image_flags", multiple=True, metavar="NAME=COMMAND", help="Run this image by this command.")
@click.option("--timeout", default=120.0, metavar="SECONDS", help="How long everything may take to get ready.")
@click.argument("paths", nargs=-1, metavar="FILE|DIR|-")
def command(name: str, detach: bool, paths: tuple[str, ...], **how: Any) -> None:
    """Bring manifests up on a local cluster, with traffic flowing through all of it."""
    started = time.monotonic()
    found = source.read(paths) if paths else source.Sources()
    planned = apply.plan(found.manifests)
    entries = images.collect(found.image_maps, how.pop("image_flags"))
    try:
        folder = state.StateFolder.of(name)
        plan = _Plan(folder, planned, entries, found.folder, how.pop("timeout"), started)
        if detach:
            how.pop("keep")
            _detached(plan, how)
        else:
            _foreground(plan, serving.configured(name, ephemeral=not how.pop("keep"), **how))
    except (state.StateError, config.AddressError, errors.CannotStart) as error:
        raise failure.Failure(str(error)) from None


class _Plan:
    def __init__(
        self,
        folder: state.StateFolder,
        planned: list[apply.Planned],
        entries: dict[str, imagefile.Entry],
        owner: Path,
        timeout_seconds: float,
        started: float,
    ) -> None:
        self.folder, self.planned, self.entries, self.owner = folder, planned, entries, owner
        self.timeout_seconds, self.started = timeout_seconds, started

    async def bring_up(self, client: protocol.Client) -> bool:
        """Applies, shows progress, prints the addresses. False when something is not ready in time."""
        await apply.apply(client, self.planned)
        if self.planned:
            click.echo("applied   " + "  ".join(one.item.title for one in self.planned))
        late = await progress.follow(
            client,
            self.planned,
            clock=clocks.SystemClock(),
            started=self.started,
            timeout_seconds=self.timeout_seconds,
            say=click.echo,
        )
        for row in late:
            click.echo(f"{click.style('not ready', fg='red')} {row.title}: {row.detail or row.state}")
        for text in await addresses.lines(client, self.folder.read(), self.folder):
            click.echo(text)
        return not late


def _foreground(plan: _Plan, wanted: config.ClusterConfig) -> None:
    fresh = not plan.folder.exists()

    async def work(cluster: wiring.Cluster, stop: asyncio.Event) -> None:
        record = plan.folder.read()
        click.echo(
            f"fairlead {fairlead.__version__}, cluster {wanted.name}, "
            f"network {record.network} ({record.network_reason})"
        )
        coming = asyncio.ensure_future(plan.bring_up(cluster.client))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((coming, stopping), return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            coming.result()
            seconds = time.monotonic() - plan.started
            click.echo(f"up in {seconds:.2f} s; Ctrl-C takes everything down")
        coming.cancel()
        await stopping
        click.echo("going down: no request is cut")

    plan.folder.create()
    imagefile.add(plan.folder.images, plan.entries, folder=plan.owner)
    try:
        with (plan.folder.log / "fairlead.log").open("a") as stream:
            log.configure(stream=stream)
            serving.run(plan.folder, wanted, work)
    finally:
        if wanted.ephemeral and fresh and not plan.folder.holder():
            plan.folder.remove()


def _detached(plan: _Plan, how: dict[str, Any]) -> None:
    running = plan.folder.holder()
    plan.folder.create()
    imagefile.add(plan.folder.images, plan.entries, folder=plan.owner)
    if not running:
        _spawn(plan.folder, how)
    asyncio.run(_apply_to_running(plan))


async def _apply_to_running(plan: _Plan) -> None:
    from fairlead.cli import remote

    async with remote.connect(plan.folder.name) as (client, _):
        if not await plan.bring_up(client):
            raise SystemExit(1)
    click.echo(f"up in {time.monotonic() - plan.started:.2f} s; `fairlead down` takes everything down")


def _spawn(folder: state.StateFolder, how: dict[str, Any]) -> None:
    """Starts the background process and waits for its word. Raises Failure with its last words if it has none."""
    arguments = [part for key, given in how.items() for part in _flag(key, given)]
    read_end, write_end = os.pipe()
    with (folder.log / "fairlead.log").open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fairlead.cli.main",
                "serve",
                "--name",
                folder.name,
                "--ready-fd",
                str(write_end),
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            start_new_session=True,
            cwd="/",
        )
    os.close(write_end)
    with os.fdopen(read_end) as words:
        word = words.readline().strip()
    if word != "ready":
        process.wait()
        raise failure.Failure(word or f"the cluster did not start; see {folder.log / 'fairlead.log'}")


def _flag(key: str, given: Any) -> list[str]:
    name = "--" + key.replace("_", "-")
    if isinstance(given, bool):
        return [name] if given else []
    return [part for item in (given if isinstance(given, tuple) else (given,)) for part in (name, str(item))]
