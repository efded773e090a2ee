"""An engine that hangs is noticed and replaced: the worker when the master answers, else the master; never a slow one
again and again."""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from fairlead.base import clock as clocks
from fairlead.dataplane import engine, watchdog
from fairlead.testing import clock


class Bench:
    """An engine whose master and worker a test may silence."""

    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.ended: list[str] = []
        self.dog = watchdog.Watchdog(self.clock, end=self._end)
        self.master_hangs = self.worker_hangs = False
        self.conversations = 0
        self.open = False

    def _end(self, pid: int, role: str) -> bool:
        assert pid == {"master": 1, "worker": 2}[role]
        self.ended.append(role)
        return True

    def send(self, message: object) -> None:
        if not self.master_hangs and not self.worker_hangs:
            self.dog.heard()

    def lose(self, why: str) -> None:
        self.open = False

    async def seconds(self, seconds: int) -> None:
        """So many seconds of conversations, each begun when the last one was lost."""
        task: asyncio.Task[None] | None = None
        for _ in range(seconds):
            if not self.open:
                self.open, self.conversations = True, self.conversations + 1
                self.dog.begin()
                if not self.master_hangs:
                    self.dog.heard(welcome=True)
                task = asyncio.ensure_future(self.dog.watch(self, lambda: (1, 2)))  # type: ignore[arg-type]
                await clock.settle()
            await self.clock.advance(1.0)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.open = False


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_engine_that_answers_is_left_alone(bench: Bench) -> None:
    await bench.seconds(1000)
    assert (bench.ended, bench.conversations) == ([], 1)


async def test_a_worker_that_hangs_is_ended_after_a_second_conversation(bench: Bench) -> None:
    bench.worker_hangs = True
    await bench.seconds(14)
    assert (bench.ended, bench.conversations) == (["worker"], 3)


async def test_a_master_that_hangs_is_ended(bench: Bench) -> None:
    bench.master_hangs = True
    await bench.seconds(7)
    assert bench.ended == ["master"]


async def test_one_that_is_silent_for_a_moment_is_forgiven(bench: Bench) -> None:
    for _ in range(20):
        bench.worker_hangs = True
        await bench.seconds(5)
        bench.worker_hangs = False
        await bench.seconds(5)
    assert bench.ended == []


async def test_one_that_is_slow_for_ever_is_ended_ever_more_rarely(bench: Bench) -> None:
    bench.worker_hangs = True
    await bench.seconds(3600)
    assert 6 <= len(bench.ended) <= 16


def test_only_an_engine_of_that_role_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert not watchdog.end_process(process.pid, "worker")
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert not watchdog.end_process(process.pid, "worker")


@pytest.mark.system
@pytest.mark.skipif("FAIRLEAD_ENGINE" not in os.environ, reason="needs an engine")
@pytest.mark.parametrize("role", ["worker", "master"])
async def test_a_stopped_engine_is_replaced(folder: pathlib.Path, role: str) -> None:
    """SIGSTOP of the real one."""
    plane = engine.EnginePlane(
        str(folder / "engine.sock"),
        clock=Hasty(),
        on_failure=lambda where, error: pytest.fail(f"{where}: {error!r}"),
        binary=os.environ["FAIRLEAD_ENGINE"],
    )
    await plane.start()
    await plane.connected()
    before = dict(zip(("master", "worker"), plane.pids, strict=True))
    os.kill(before[role], signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            while 0 in plane.pids or before[role] in plane.pids:
                await asyncio.sleep(0.02)
            await plane.connected()
        if role == "master":
            assert plane.pids[1] == before["worker"]  # it has carried on, and is adopted
    finally:
        await plane.shutdown(grace_seconds=0)
        await plane.close()


class Hasty(clocks.SystemClock):
    """Seconds of the watchdog's pass ten times as fast."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10 if seconds == watchdog.PERIOD_SECONDS else seconds)
