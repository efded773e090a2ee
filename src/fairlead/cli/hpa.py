"""`fairlead hpa replay` and `explain`: how an HPA would have reacted to a load, and why a live one did what it did.

The decisions are the autoscaler's own, the balancing is the engine's under virtual time, the application is a model
(see `controllers.autoscaling.replay`). Several -f compare specs on the same load. A Deployment beside the HPA gives the
CPU request and the first replicas.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fairlead.cli import failure, options

Object = dict[str, Any]


@click.group("hpa")
def command() -> None:
    """HorizontalPodAutoscalers."""


@command.command("replay")
@click.option("-f", "paths", multiple=True, required=True, metavar="FILE", help="An HPA; give several to compare.")
@click.option(
    "--load", "trace", required=True, type=click.Path(path_type=Path), help="CSV: seconds,requests per second."
)
@click.option("--cost-ms", type=float, help="CPU that a request costs; default: as it was recorded, else 10.")
@click.option("--cores", default=1.0, show_default=True, help="CPU that a pod may use at most.")
@click.option("--start-seconds", default=1.0, show_default=True, help="How long a pod takes to get ready.")
@click.option("--cpu-request", default="", help="Of a pod; default: the Deployment's beside the HPA, else 100m.")
@click.option("--window", default=5.0, show_default=True, help="Seconds over which metrics are averaged.")
@click.option("--algorithm", default="", help="How pods are chosen; default: least-request.")
@click.option("--formula", is_flag=True, help="No balancing by the engine: requests are spread evenly.")
@click.option("--every", default=0, metavar="SECONDS", help="Rows of the table; default: about 30 rows.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write the picture there.")
def replay(
    paths: tuple[str, ...], trace: Path, every: int, svg: Path | None, algorithm: str, formula: bool, **how: Any
) -> None:
    """Replay a load through one or several HPAs under virtual time."""
    from fairlead.api import quantity
    from fairlead.controllers.autoscaling import picture, recording
    from fairlead.controllers.autoscaling import replay as replays
    from fairlead.dataplane import simulator

    try:
        load = replays.read_trace(trace.read_text())
        how["cost_ms"] = how["cost_ms"] or 1000 * (recording.cost_seconds(trace.read_text()) or 0.01)
        found = {}
        for path in paths:
            hpa, model = _read(path, how)
            with _balancer(algorithm, model, formula=formula) as balancer:
                found[path] = replays.Replay(hpa, model, window_seconds=how["window"], balancer=balancer).run(load)
    except replays.TraceError as error:
        raise failure.Failure(f"{trace}: {error}") from None
    except OSError as error:
        raise failure.Failure(f"{error.filename or trace}: {error.strerror}") from None
    except simulator.SimulatorError as error:
        raise failure.Failure(f"the engine's simulator: {error}") from None
    except quantity.QuantityError as error:
        raise failure.Failure(f"--cpu-request: {error}") from None
    _show(found, every)
    if svg is not None:
        svg.write_text(picture.render(found))
        click.echo(f"picture   {svg}")


@command.command("explain")
@options.name
@click.argument("target", metavar="[hpa/]NAME")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
def explain(name: str, target: str, namespace: str) -> None:
    """Say why an HPA of a running cluster did what it did last."""
    import asyncio

    asyncio.run(_explain(name, target.removeprefix("hpa/"), namespace))


async def _explain(name: str, hpa: str, namespace: str) -> None:
    from fairlead.api.kinds import Kind
    from fairlead.cli import remote
    from fairlead.client import errors
    from fairlead.controllers.autoscaling import explaining

    kind = Kind(explaining.GROUP, explaining.VERSION, explaining.KIND, "horizontalpodautoscalers")
    async with remote.connect(name) as (client, _):
        try:
            found = await client.get(kind, hpa, namespace=namespace)
        except errors.ApiError as error:
            raise failure.Failure(str(error)) from None
    for line in explaining.text(found):
        click.echo(line)


@contextlib.contextmanager
def _balancer(algorithm: str, model: Any, *, formula: bool) -> Iterator[Any]:
    """The engine's; None where a formula is asked for."""
    from fairlead.dataplane import simulator, spawn

    if formula:
        yield None
        return
    try:
        binary = spawn.find_binary()
    except spawn.EngineMissing as error:
        raise failure.Failure(f"{error} (or give --formula)") from None
    with simulator.Simulator(binary, algorithm=algorithm, costs=[model.cost_seconds]) as found:
        yield found


def _read(path: str, how: Mapping[str, Any]) -> tuple[Object, Any]:
    from fairlead.api import quantity
    from fairlead.cli import source
    from fairlead.controllers.autoscaling import replay as replays

    objects = [one.object for one in source.read((path,)).manifests]
    hpas = [obj for obj in objects if obj.get("kind") == "HorizontalPodAutoscaler"]
    if len(hpas) != 1 or hpas[0].get("apiVersion") != "autoscaling/v2":
        raise failure.Failure(f"{path}: one HorizontalPodAutoscaler of autoscaling/v2 is expected, found {len(hpas)}")
    beside = next((obj for obj in objects if obj.get("kind") == "Deployment"), None)
    first = int(((beside or {}).get("spec") or {}).get("replicas") or hpas[0]["spec"].get("minReplicas") or 1)
    model = replays.Model(
        cost_seconds=how["cost_ms"] / 1000,
        cpu_request_milli=quantity.milli(how["cpu_request"] or _request(beside) or "100m"),
        cores=how["cores"],
        start_seconds=how["start_seconds"],
        replicas=first,
    )
    return hpas[0], model


def _request(deployment: Object | None) -> str:
    if deployment is None:
        return ""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return str(((containers[0].get("resources") or {}).get("requests") or {}).get("cpu", ""))


_COLUMNS = "{:>7} {:>8} {:>8} {:>6} {:>6} {:>9} {:>8} {:>11}  {}"
_SUMS = "{:<28} {:>13} {:>18} {:>8} {:>13} {:>17}"


def _show(found: Mapping[str, Sequence[Any]], every: int) -> None:
    from fairlead.controllers.autoscaling import replay as replays

    for name, rows in found.items():
        click.echo(f"\n{click.style(name, bold=True)}")
        heads = ("s", "req/s", "replicas", "ready", "CPU %", "in flight", "waiting", "latency ms", "why")
        click.echo(_COLUMNS.format(*heads))
        for row in rows[:: every or max(1, len(rows) // 30)]:
            click.echo(
                _COLUMNS.format(
                    f"{row.at:g}", f"{row.requests_per_second:g}", row.replicas, row.ready, f"{row.utilization:.0f}",
                    f"{row.in_flight:.1f}", f"{row.waiting:.0f}", f"{row.latency_seconds * 1000:.1f}", row.reason,
                )
            )  # fmt: skip
    titles = ("spec", "most replicas", "replicas x seconds", "changes", "most waiting", "worst latency ms")
    click.echo("\n" + _SUMS.format(*titles))
    for name, rows in found.items():
        sums = replays.summarize(rows)
        worst = f"{sums.worst_latency_seconds * 1000:.1f}"
        waiting = f"{sums.most_waiting:.0f}"
        click.echo(
            _SUMS.format(Path(name).name, sums.most_replicas, sums.replica_seconds, sums.changes, waiting, worst)
        )
