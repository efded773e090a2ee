"""Shows an application coming up: a line for each change, and the end when every workload that was applied is ready.

`follow` returns the rows that are not ready when the time is up, so the caller can say what is missing and why. The
first pod of a workload that fails says its last words, so that nobody has to know yet how logs are read.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import click

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.cli import apply, board, lastwords
from fairlead.client import informer, informers, protocol

_MARKS = {
    "starting": ("…", "yellow"),
    "ready": ("✓", "green"),
    "failed": ("✗", "red"),
    "stopping": ("-", "bright_black"),
}
_QUOTE_SECONDS = 2.0
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")


def line(row: board.Row, seconds: float) -> str:
    """One row for people: mark, title, detail and the seconds since the start."""
    mark, colour = _MARKS[row.state]
    return f"{seconds:7.2f}s {click.style(mark, fg=colour)} {row.title}" + (f"  {row.detail}" if row.detail else "")


class Progress:
    """Collects rows; prints each when it changes; knows when all that was waited for (titles) is ready."""

    def __init__(
        self,
        wanted: set[str],
        *,
        clock: clocks.Clock,
        started: float,
        say: Callable[[str], None],
        only_failures: bool = False,
    ) -> None:
        self._wanted = wanted
        self._only_failures = only_failures
        self._clock, self._started, self._say = clock, started, say
        self._rows: dict[str, board.Row] = {}
        self.done = asyncio.Event()
        self._check()

    def quote(self, lines: list[str]) -> None:
        """What somebody else said, below the last row."""
        for text in lines:
            self._say(f"{'':10} {click.style('|', fg='red')} {text}")

    def show(self, row: board.Row) -> None:
        """Takes a new state of one object."""
        if self._rows.get(row.title) == row:
            return
        self._rows[row.title] = row
        if row.state == "failed" or not self._only_failures:
            self._say(line(row, self._clock.monotonic() - self._started))
        self._check()

    def forget(self, title: str) -> None:
        self._rows.pop(title, None)

    def missing(self) -> list[board.Row]:
        """What was waited for and is not ready, then its pods that are not."""
        late = [self._rows.get(title) or board.Row(title, "starting", "not seen yet") for title in sorted(self._wanted)]
        pods = [row for title, row in self._rows.items() if title not in self._wanted and row.state != "stopping"]
        return [row for row in (*late, *pods) if row.state != "ready"]

    def _check(self) -> None:
        if all(self._rows.get(title, _UNSEEN).state == "ready" for title in self._wanted):
            self.done.set()


_UNSEEN = board.Row("", "starting")


@dataclass(frozen=True, slots=True)
class Awaited:
    """A workload or Pod that is to become ready."""

    kind: kinds.Kind
    namespace: str
    name: str

    @property
    def title(self) -> str:
        return board.title(self.kind.kind, self.namespace, self.name)


def awaited(planned: list[apply.Planned]) -> list[Awaited]:
    """What of the objects is waited for."""
    return [
        Awaited(one.kind, one.namespace, one.name)
        for one in planned
        if one.name and one.kind.kind in (*_WORKLOADS, "Pod")
    ]


async def kept(client: protocol.Client) -> list[Awaited]:
    """The workloads that a cluster has from before."""
    found = []
    for kind in (one for one in kinds.KINDS if one.kind in _WORKLOADS[:3]):
        for item in (await client.list(kind)).items:
            found.append(Awaited(kind, item["metadata"]["namespace"], item["metadata"]["name"]))
    return found


async def follow(
    client: protocol.Client,
    planned: list[Awaited],
    *,
    clock: clocks.Clock,
    started: float,
    timeout_seconds: float,
    say: Callable[[str], None],
    only_failures: bool = False,
) -> list[board.Row]:
    """Shows what happens, or only what fails, until everything planned is ready. Returns what is not when the time is
    up."""
    wanted = {one.title for one in planned}
    if not wanted:
        return []
    spaces = {one.namespace for one in planned}
    progress = Progress(wanted, clock=clock, started=started, say=say, only_failures=only_failures)
    quoting = _Quoting(client, progress)
    watched = informers.Informers(client, clock=clock, rng=random.Random(), on_failure=_raise)  # noqa: S311  back-off jitter
    for kind in {one.kind for one in planned} | {kinds.POD}:
        for space in spaces:
            watched.of(kind, namespace=space).add_handler(_teller(progress, wanted, kind, quoting))
    watched.start()
    try:
        async with asyncio.timeout(timeout_seconds):
            await progress.done.wait()
    except TimeoutError:
        return progress.missing()
    finally:
        await watched.close()
        await quoting.close()
    return []


class _Quoting:
    """Fetches the last words of the first pod of each workload that fails."""

    def __init__(self, client: protocol.Client, progress: Progress) -> None:
        self._client, self._progress = client, progress
        self._heard: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, pod: board.Object) -> None:
        owners = board.owners(pod)
        if self._heard.isdisjoint(owners):
            self._heard |= owners
            task = asyncio.ensure_future(self._quote(pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _quote(self, pod: board.Object) -> None:
        self._progress.quote(await lastwords.read(self._client, pod))

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_QUOTE_SECONDS)
        for task in self._tasks:
            task.cancel()


def _teller(progress: Progress, wanted: set[str], kind: kinds.Kind, quoting: _Quoting) -> informer.Handler:
    def tell(change: informer.Change) -> None:
        row = board.pod(change.object) if kind is kinds.POD else board.workload(change.object, kind.kind)
        if change.new is None:
            progress.forget(row.title)
        elif row.title in wanted or (kind is kinds.POD and not wanted.isdisjoint(board.owners(change.object))):
            progress.show(row)
            if kind is kinds.POD and row.state == "failed":
                quoting.hear(change.object)

    return tell


def _raise(where: str, error: BaseException) -> None:
    raise RuntimeError(where) from error
