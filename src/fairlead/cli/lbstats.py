"""The engine's statistics for people (a table, once a second) and for Prometheus (its own text, passed on)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from fairlead.cli import failure
from fairlead.cluster import config

PERIOD_SECONDS = 1.0
Snapshot = dict[str, Any]


async def fetch(socket: str, path: str) -> bytes:
    """One answer of the engine's statistics socket. Raises OSError while the engine is away."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise OSError(f"the engine answered {head[:60]!r}")
        return body
    finally:
        writer.close()


async def serve_metrics(place: str, socket: str) -> None:
    """Serves GET /metrics at ADDR:PORT until cancelled. Raises Failure when the address cannot be had."""
    from aiohttp import web

    async def metrics(_: web.Request) -> web.Response:
        try:
            return web.Response(body=await fetch(socket, "/metrics"), content_type="text/plain")
        except OSError as error:
            return web.Response(status=503, text=f"{error}\n")

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        for one in config.door(place):
            address, _, port = one.rpartition(":")
            await web.TCPSite(runner, address.strip("[]"), int(port)).start()
        click.echo(f"metrics   http://{place}/metrics")
        await asyncio.Event().wait()
    except (OSError, config.AddressError) as error:
        raise failure.Failure(f"--metrics {place}: {error}") from None
    finally:
        await runner.cleanup()


async def show(socket: str) -> None:
    """Redraws a table of endpoints every second until cancelled."""
    import json

    from rich import live

    before: Snapshot = {}
    with live.Live(auto_refresh=False) as screen:
        while True:
            try:
                now = json.loads(await fetch(socket, "/stats"))
            except (OSError, ValueError):
                now = before
            screen.update(_table(before, now), refresh=True)
            before = now
            await asyncio.sleep(PERIOD_SECONDS)


def rows(before: Snapshot, now: Snapshot) -> list[tuple[str, ...]]:
    """(backend, endpoint, state, requests/s, in flight, failed, refused, p50 ms, p99 ms) of every endpoint."""
    found: list[tuple[str, ...]] = []
    for backend, entry in sorted(now.get("backends", {}).items()):
        for address, endpoint in sorted(entry.get("endpoints", {}).items()):
            old = before.get("backends", {}).get(backend, {}).get("endpoints", {}).get(address, {})
            rate = (endpoint["requests"] - old.get("requests", endpoint["requests"])) / PERIOD_SECONDS
            buckets = _since(old.get("latency", {}), endpoint["latency"])
            found.append(
                (
                    backend, address, state(endpoint), f"{rate:.0f}", str(endpoint["in_flight"]),
                    str(endpoint["codes"]["5xx"] + endpoint["codes"]["none"]), str(endpoint["connect_failures"]),
                    quantile(buckets, 0.5), quantile(buckets, 0.99),
                )
            )  # fmt: skip
    return found


def state(endpoint: Snapshot, *, now_seconds: float | None = None) -> str:
    """Its state; of one that is thrown out the cause too, and how long it still is out where that is known.

    One that is chosen still but cannot be connected to says so: nothing but a health check or `outlier` takes it out.
    """
    found = str(endpoint["state"])
    if found == "ready" and (trouble := endpoint.get("connect_trouble")):
        return f"ready, but no connection: {trouble['reason']} ({trouble['in_a_row']} in a row)"
    last = endpoint.get("ejections", {}).get("last")
    if found not in ("ejected", "unhealthy") or not last:
        return found
    now = time.time() if now_seconds is None else now_seconds
    left = f", {max(last['until'] - now, 0):.0f} s left" if "until" in last else ""
    times = sum(endpoint["ejections"]["count"].values())
    return f"{found}: {last['reason']}{left}" + (f" ({times} times so far)" if times > 1 else "")


def _since(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[int, int]]:
    known = dict(old.get("buckets", ()))
    return [(bound, count - known.get(bound, 0)) for bound, count in new["buckets"]]


def quantile(buckets: list[tuple[int, int]], share: float) -> str:
    """The upper bound, in ms, of the bucket that holds that share; "-" without requests."""
    total = sum(count for _, count in buckets)
    seen = 0
    for bound, count in sorted(buckets):
        seen += count
        if total and seen >= share * total:
            return f"{bound / 1000:.2f}"
    return "-"


def _table(before: Snapshot, now: Snapshot) -> Any:
    from rich import table

    view = table.Table(box=None)
    for title in ("backend", "endpoint", "state", "requests/s", "in flight", "failed", "refused", "p50 ms", "p99 ms"):
        view.add_column(title, justify="left" if title in ("backend", "endpoint", "state") else "right")
    for row in rows(before, now):
        view.add_row(*row)
    return view
