"""The engine's statistics reach the autoscaler, through its restarts and its silence."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from fairlead.base import clock as clocks
from fairlead.cluster import traffic_stats
from fairlead.controllers.autoscaling import metrics, traffic_metrics

POD = metrics.Subject("Pod", "default", "web-1")


class Engine:
    """Answers one connection after the other with the lines given, then hangs or ends."""

    def __init__(self, *lives: list[Any]) -> None:
        self.lives = list(lives)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /stats?watch=1 ")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nConnection: close\r\n\r\n")
        for line in self.lives.pop(0):
            writer.write(json.dumps(line).encode() + b"\n")
            await writer.drain()
        if not self.lives:
            await reader.read()
        writer.close()


def document(requests: int) -> Any:
    endpoint = {"name": "default/web-1", "requests": requests, "in_flight": 2, "connections": 0}
    return {"backends": {"default/web:80": {"endpoints": {"10.0.0.1:80": endpoint}}}}


async def until(found: traffic_metrics.TrafficMetrics, points: int) -> None:
    async with asyncio.timeout(10):
        while len(found._samples(POD)) < points:
            await asyncio.sleep(0.01)


async def test_statistics_are_followed_through_a_restart_and_through_silence(tmp_path: Path) -> None:
    path = str(tmp_path / "stats.sock")
    server = await asyncio.start_unix_server(Engine([document(5)], [document(1)]), path)
    found = traffic_metrics.TrafficMetrics()
    task = asyncio.create_task(traffic_stats.follow(path, found, clock=clocks.SystemClock()))
    await until(found, 2)
    await until(found, 3)  # nothing changed, time passed
    sample = found.reading("requests_in_flight", POD, window_seconds=5)
    assert sample is not None and sample.milli == 2000
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.close()


async def test_following_ends_whenever_it_is_cancelled(tmp_path: Path) -> None:
    """Also in the moment in which a line comes."""
    answering: list[asyncio.Task[None] | None] = []

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}\n")
            await reader.read()
        writer.close()

    path = str(tmp_path / "stats.sock")
    server = await asyncio.start_unix_server(engine, path)
    for ticks in range(3, 40):
        follow = traffic_stats.follow(path, traffic_metrics.TrafficMetrics(), clock=clocks.SystemClock())
        task = asyncio.create_task(follow)
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled(), f"cancelled after {ticks} turns of the loop"
    server.close()
    await asyncio.gather(*filter(None, answering), return_exceptions=True)


async def test_no_engine_is_no_harm(tmp_path: Path) -> None:
    found = traffic_metrics.TrafficMetrics()
    follow = traffic_stats.follow(str(tmp_path / "none.sock"), found, clock=clocks.SystemClock())
    task = asyncio.create_task(follow)
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
