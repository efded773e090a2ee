"""Starts a cluster for a set of objects, in this process or in the background, and shows it coming up.

What `up` and `run` share: the plan (objects, image entries, as whose they run), applying it, the addresses at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import fairlead
from fairlead.base import clock as clocks
from fairlead.base import log
from fairlead.cli import addresses, apply, failure, options, progress, remarks, serving
from fairlead.client import protocol
from fairlead.cluster import config, errors, imagefile, state, wiring

Follow = Callable[[protocol.Client], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run. `owner` is the folder whose owner the pods run as; `follow` goes on while the cluster does."""

    folder: state.StateFolder
    planned: list[apply.Planned]
    entries: dict[str, imagefile.Entry]
    owner: Path
    timeout_seconds: float
    started: float
    follow: Follow | None = None

    async def bring_up(self, client: protocol.Client) -> bool:
        """Applies, shows progress, prints the addresses. False when something is not ready in time."""
        await apply.apply(client, self.planned)
        if self.planned:
            _say("applied   " + "  ".join(one.item.title for one in self.planned))
        wanted = progress.awaited(self.planned) if self.planned else await progress.kept(client)
        late = await progress.follow(
            client,
            wanted,
            clock=clocks.SystemClock(),
            started=self.started,
            timeout_seconds=self.timeout_seconds,
            say=_say,
        )
        for text in await remarks.not_ready(client, late):
            _say(f"{click.style('not ready', fg='red')} {text}")
        for text in await remarks.wrong(client, self.folder, self.planned):
            _say(f"{click.style('warning', fg='yellow')}   {text}")
        for text in await addresses.lines(client, self.folder.read(), self.folder):
            _say(text)
        return not late


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever read it has gone (`up | head`); the cluster has not
        click.echo(text)


def launch(plan: Plan, *, detach: bool, keep: bool, **how: Any) -> None:
    """Brings the plan up as the options say. Raises Failure."""
    try:
        wanted = serving.configured(plan.folder.name, ephemeral=not keep, **how)
        if detach:
            _detached(plan, how)
        else:
            _foreground(plan, wanted, how)
    except (state.StateError, config.AddressError, errors.CannotStart) as error:
        raise failure.Failure(str(error)) from None


def _foreground(plan: Plan, wanted: config.ClusterConfig, how: dict[str, Any]) -> None:
    fresh = not plan.folder.exists()

    async def work(cluster: wiring.Cluster, stop: asyncio.Event) -> None:
        plan.folder.remember(how)
        record = plan.folder.read()
        _say(
            f"fairlead {fairlead.__version__}, cluster {wanted.name}, "
            f"network {record.network} ({record.network_reason})"
        )
        if not fresh:
            _say(f"state     {plan.folder.path} is kept from before: what is in it comes up, too, and stays in it")
        coming = asyncio.ensure_future(plan.bring_up(cluster.client))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((coming, stopping), return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            coming.result()
            seconds = time.monotonic() - plan.started
            _say(f"up in {seconds:.2f} s; Ctrl-C takes everything down")
        coming.cancel()
        following = asyncio.ensure_future(plan.follow(cluster.client)) if plan.follow and not stop.is_set() else None
        await stopping
        if following is not None:
            following.cancel()
        _say("going down: no request is cut")

    plan.folder.create()
    imagefile.add(plan.folder.images, plan.entries, folder=plan.owner)
    try:
        with (plan.folder.log / "fairlead.log").open("a") as stream:
            log.configure(stream=stream)
            serving.run(plan.folder, wanted, work)
    finally:
        if wanted.ephemeral and fresh and not plan.folder.holder():
            plan.folder.remove()


def _detached(plan: Plan, how: dict[str, Any]) -> None:
    fresh, running = not plan.folder.exists(), plan.folder.holder()
    asked = options.given(how)
    if running:
        _refuse_changes(plan.folder, asked)
    elif not asked:
        asked = {key: value for key, value in plan.folder.options().items() if how.get(key, value) != value}
        if asked:
            _say(f"options   {_words(asked)} (as it was started last; any option given replaces them all)")
    plan.folder.create()
    imagefile.add(plan.folder.images, plan.entries, folder=plan.owner)
    if not running:
        try:
            _spawn(plan.folder, asked)
        except NotStarted:
            if fresh:
                plan.folder.remove()
            raise
    asyncio.run(_apply_to_running(plan))


def _refuse_changes(folder: state.StateFolder, asked: dict[str, Any]) -> None:
    """Options say how a cluster starts: one that runs does not take others. Raises Failure."""
    before, network = folder.options(), folder.read().network
    differ = {
        key: value
        for key, value in asked.items()
        if before.get(key, value) != value and (key, value) != ("network", network)
    }
    if differ:
        raise failure.Failure(
            f"cluster {folder.name!r} runs already, and not with {_words(differ)}; to start it so: "
            f"fairlead down --name {folder.name}, then this command again"
        )


def _words(asked: dict[str, Any]) -> str:
    return " ".join(part for key, value in asked.items() for part in flag(key, value))


class NotStarted(failure.Failure):
    """The background process ended and said why."""


async def _apply_to_running(plan: Plan) -> None:
    from fairlead.cli import remote

    async with remote.connect(plan.folder.name) as (client, _):
        if not await plan.bring_up(client):
            raise SystemExit(1)
    _say(f"up in {time.monotonic() - plan.started:.2f} s; `fairlead down` takes everything down")


def _spawn(folder: state.StateFolder, asked: dict[str, Any]) -> None:
    """Starts the background process and waits for its word. Raises NotStarted with it, Failure if it has none."""
    arguments = [part for key, given in asked.items() for part in flag(key, given)]
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
        if word:
            raise NotStarted(word)
        raise failure.Failure(f"the cluster did not start; see {folder.log / 'fairlead.log'}")


def flag(key: str, given: Any) -> list[str]:
    """An option as words of a command line."""
    name = "--" + key.replace("_", "-")
    if isinstance(given, bool):
        return [name] if given else []
    return [part for item in (given if isinstance(given, tuple) else (given,)) for part in (name, str(item))]
