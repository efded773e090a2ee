"""What is to come up, and how it is shown coming up: the same in the foreground and beside a background process.

What takes long to import is imported where it is used: a background process starts meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import click

from fairlead.base import clock as clocks
from fairlead.cli import apply
from fairlead.client import protocol
from fairlead.cluster import imagefile, state

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
        from fairlead.cli import addresses, progress, remarks

        applied = await apply.apply(client, self.planned)
        if self.planned:
            say("applied   " + "  ".join(one.item.title for one in self.planned))
        for text in applied.warnings:
            say(f"{click.style('warning', fg='yellow')}   {text}")
        wanted = progress.awaited(self.planned) if self.planned else await progress.kept(client)
        late = await progress.follow(
            client,
            wanted,
            clock=clocks.SystemClock(),
            started=self.started,
            timeout_seconds=self.timeout_seconds,
            say=say,
        )
        for text in await remarks.not_ready(client, late):
            say(f"{click.style('not ready', fg='red')} {text}")
        for text in await remarks.wrong(client, self.folder, self.planned):
            say(f"{click.style('warning', fg='yellow')}   {text}")
        for text in await addresses.lines(client, self.folder.read(), self.folder):
            say(text)
        return not late

    def outcome(self, ready: bool, then: str) -> str:
        """The last line: how long it took, or that it goes on, and what ends it."""
        seconds = time.monotonic() - self.started
        if ready:
            return f"up in {seconds:.2f} s; {then}"
        return f"not all of it is ready after {seconds:.1f} s; it goes on trying (`fairlead status` shows it); {then}"


def say(text: str) -> None:
    """A line for whoever watches."""
    with contextlib.suppress(BrokenPipeError):  # whoever read it has gone (`up | head`); the cluster has not
        click.echo(text)
