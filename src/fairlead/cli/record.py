"""`fairlead record service/NAME|ingress/NAME`: the load of a running cluster, second by second, to a file that
`fairlead hpa replay --load` takes.

Requests come from the engine's statistics, CPU from the metrics API. Nothing in the cluster is changed; Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import IO, Any

import click

from fairlead.cli import failure, options

Object = dict[str, Any]
_KINDS = {"service": "Service", "svc": "Service", "ingress": "Ingress", "ing": "Ingress"}


@click.command("record")
@options.name
@click.argument("what", metavar="service/NAME|ingress/NAME")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
@click.option("--seconds", default=0, metavar="N", help="How long; default: until Ctrl-C.")
@click.option("-o", "--output", type=click.File("w", lazy=False), default="-", help="The file (standard output).")
def command(name: str, what: str, namespace: str, seconds: int, output: IO[str]) -> None:
    """Record the load of a Service or Ingress for `fairlead hpa replay`."""
    word, _, target = what.partition("/")
    if word not in _KINDS or not target:
        raise failure.Failure(f"{what}: service/NAME or ingress/NAME is expected")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_record(name, _KINDS[word], namespace, target, seconds, output))


async def _record(name: str, kind: str, namespace: str, target: str, seconds: int, output: IO[str]) -> None:
    from fairlead.api import kinds
    from fairlead.base import clock as clocks
    from fairlead.cli import remote
    from fairlead.cluster import traffic_stats
    from fairlead.controllers.autoscaling import metrics, recording, traffic_metrics

    clock, seen = clocks.SystemClock(), traffic_metrics.TrafficMetrics()
    async with remote.connect(name) as (client, _):
        known = kinds.SERVICE if kind == "Service" else kinds.INGRESS
        found = await client.get(known, target, namespace=namespace)
        selector = (found["spec"].get("selector") or {}) if kind == "Service" else {}
        socket = str(remote.running(name).run / "stats.sock")
        following = asyncio.ensure_future(traffic_stats.follow(socket, seen, clock=clock))
        subject, lines = metrics.Subject(kind, namespace, target), 0
        print(recording.HEADER, file=output, flush=True)
        try:
            async for at in _every_second(seconds):
                rate = seen.reading("requests_per_second", subject, window_seconds=1.0)
                if rate is None:
                    continue
                flight = seen.reading("requests_in_flight", subject, window_seconds=1.0)
                late = seen.reading("request_latency_p95_seconds", subject, window_seconds=1.0)
                pods, cores = await _pods(client, namespace, selector)
                line = recording.Line(
                    seconds=float(at), requests_per_second=rate.milli / 1000,
                    requests_in_flight=flight.milli / 1000 if flight else None,
                    latency_p95_seconds=late.milli / 1000 if late else None,
                    replicas=pods, cpu_cores=cores,
                )  # fmt: skip
                print(recording.render(line), file=output, flush=True)
                lines += 1
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            if output is not sys.stdout:
                click.echo(f"recorded {lines} s of {kind} {namespace}/{target}", err=True)


async def _every_second(seconds: int) -> AsyncIterator[int]:
    """0, 1, 2 ... each when it is due; two more than asked for, which the first counters take."""
    start, at = time.monotonic(), 0
    while not seconds or at < seconds + 2:
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        yield at
        at += 1


async def _pods(client: Any, namespace: str, selector: Object) -> tuple[int | None, float | None]:
    """How many pods of the Service are ready, and what all of them use."""
    from fairlead.api import kinds, quantity
    from fairlead.api.kinds import Kind
    from fairlead.client import errors

    if not selector:
        return None, None
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    found = (await client.list(kinds.POD, namespace=namespace, label_selector=labels)).items
    ready = sum(
        any(one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", ()))
        for pod in found
    )
    usage = Kind("metrics.k8s.io", "v1beta1", "PodMetrics", "pods")
    try:
        measured = (await client.list(usage, namespace=namespace, label_selector=labels)).items
    except errors.ApiError:
        return ready, None
    used = [one["usage"]["cpu"] for pod in measured for one in pod["containers"]]
    return ready, sum(float(quantity.parse(text)) for text in used) if used else None
