"""Follows the engine's statistics, once a second or as often as asked, into the autoscaler's traffic metrics
(docs/protocol.md, "Statistics").

The socket belongs to the worker: when that is replaced, the stream ends and a new one begins with a whole document.
Silence is no harm: without statistics the metrics are unknown, and an HPA that needs them says so.
"""

from __future__ import annotations

import asyncio
import json

from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.controllers.autoscaling import traffic_metrics

AGAIN_SECONDS = 0.5
QUIET_SHARE = 1.2  # of the period: so long without a line, and nothing has changed
LIMIT_BYTES = 64 * 2**20
_WATCH = "GET /stats?watch={:g} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n"

log = logs.get(__name__)


async def follow(
    socket: str, metrics: traffic_metrics.TrafficMetrics, *, clock: clocks.Clock, period_seconds: float = 1.0
) -> None:
    """Reads until cancelled, and again whenever the engine went away."""
    while True:
        try:
            await _read(socket, metrics, clock, period_seconds)
        except (OSError, EOFError, ValueError) as error:
            log.debug("no statistics", problem=repr(error))
        metrics.reset()
        await clock.sleep(AGAIN_SECONDS)


async def _read(
    socket: str, metrics: traffic_metrics.TrafficMetrics, clock: clocks.Clock, period_seconds: float
) -> None:
    reader, writer = await asyncio.open_unix_connection(socket, limit=LIMIT_BYTES)
    jumps = clocks.Jumps(clock)
    try:
        writer.write(_WATCH.format(period_seconds).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise OSError(f"the engine answered {head[:60]!r}")
        while True:
            try:  # no wait_for: before Python 3.12 it drops a cancellation that comes together with the line
                async with asyncio.timeout(period_seconds * QUIET_SHARE):
                    line = await reader.readline()
            except TimeoutError:
                line = b"{}"  # the engine is silent while nothing changes; time passes all the same
            if not line:
                return
            if moved := jumps.seconds():
                metrics.move(moved)
            metrics.add(json.loads(line), clock.now())
    finally:
        writer.close()
