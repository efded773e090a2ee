"""`fairlead lb`: a load balancer for any servers, without manifests: a cluster's table, policies and engine.

From flags, or from a file (`-f lb.yaml`) whose changes (and those of the certificates that it names) are applied
without a lost request. Names are resolved again every few seconds. SIGINT and SIGTERM finish what is in flight; SIGHUP
reads everything at once. Killed, it leaves an engine that carries on, and the next start for the same file (or the same
--listen flags) adopts that.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import Any

import click

from fairlead.base import log
from fairlead.cli import failure, lbfolder, lbsource, lbstats, options
from fairlead.dataplane import access_log, spawn
from fairlead.routing import standalone, table

WATCH_SECONDS = 0.25
RESOLVE_SECONDS = 5.0
GRACE_SECONDS = 30.0


@click.command("lb")
@click.option("--listen", "listen", multiple=True, metavar="SCHEME://ADDR:PORT", help="http, https, tcp, udp or tls.")
@click.option("--to", "to", multiple=True, metavar="ADDR:PORT[,weight=N]", help="A server; repeat it.")
@click.option("--algorithm", default="", help="round-robin, least-request, ip-hash, prequal, ...")
@click.option("--check", default="", metavar="http:/PATH|tcp|grpc[:SERVICE]", help="Test the servers actively.")
@click.option("--cert", default="", metavar="FILE", help="Certificate chain for https listeners (PEM).")
@click.option("--key", default="", metavar="FILE", help="Its private key (PEM).")
@click.option("-f", "--file", "file", type=click.Path(), help="Listeners, routes and policies as YAML.")
@click.option("--metrics", default="", metavar="ADDR:PORT", help="Serve Prometheus metrics there.")
@options.logging_access
@click.option("--stats/--no-stats", default=None, help="Show statistics (default: on a terminal).")
def command(*, file: str | None, metrics: str, stats: bool | None, **flags: Any) -> None:
    """Balance any servers: --listen http://:8080 --to 10.0.0.1:80 --to 10.0.0.2:80,weight=2"""
    if bool(file) == bool(flags["listen"] or flags["to"]):
        raise failure.Failure("say either -f FILE, or --listen and --to")
    wanted = lbsource.Log(flags["access_log"], flags["access_log_share"], flags["access_log_query"])
    source: lbsource.Source = lbsource.FileSource(Path(file), wanted) if file else lbsource.FlagSource(flags, wanted)
    import uvloop

    log.configure(level="error")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(source, metrics, sys.stdout.isatty() if stats is None else stats, wanted.place))


class _Balancer:
    """Keeps the engine equal to the source."""

    def __init__(self, plane: Any, source: Any) -> None:
        self._plane, self._source = plane, source
        self._resolved: dict[tuple[str, int], tuple[str, ...]] = {}
        self._unresolved: dict[tuple[str, int], str] = {}
        self.current: standalone.Standalone = source.read()

    async def apply(self) -> list[str]:
        """Sends the current table. Returns what the engine did not take."""
        await self._plane.apply(self.current.structure)
        await self.resolve()
        ack = await self._plane.acked(await self._plane.apply_endpoints(self._endpoints()))
        texts = [f"{nack.object}: {nack.path}: {nack.message}" for nack in (*ack.nacks, *self._plane.nacks)]
        return list(dict.fromkeys(texts))

    async def reload(self) -> None:
        """Reads the source again; a mistake leaves everything as it is."""
        try:
            self.current = self._source.read()
        except failure.Failure as error:
            error.show()
            click.echo("the running configuration stays as it is", err=True)
            return
        refused = await self.apply()
        for text in refused:
            click.echo(f"{click.style('error', fg='red')}: {text}", err=True)
        rest = ", but for what is told above: there it stays as it was" if refused else ""
        click.echo(f"applied the changed file{rest}", err=True)

    async def resolve(self) -> bool:
        """Looks every name up; one that cannot be resolved keeps its last addresses. True when something changed."""
        loop, before = asyncio.get_running_loop(), dict(self._resolved)
        for name in {(one.host, one.port) for entries in self.current.named.values() for one in entries}:
            try:
                found = await loop.getaddrinfo(*name)
            except OSError as error:
                if self._unresolved.get(name) != error.strerror:  # once, not every few seconds
                    click.echo(f"{name[0]}: {error.strerror}", err=True)
                self._unresolved[name] = str(error.strerror)
                continue
            if self._unresolved.pop(name, None):
                click.echo(f"{name[0]}: is found again", err=True)
            self._resolved[name] = tuple(sorted({str(entry[4][0]) for entry in found}))
        return before != self._resolved

    def _endpoints(self) -> list[table.BackendEndpoints]:
        return [self._of(name, entries) for name, entries in self.current.endpoints.items()]

    def _of(self, name: str, entries: tuple[table.Endpoint, ...]) -> table.BackendEndpoints:
        looked_up = tuple(
            table.Endpoint(address=address, port=one.port, weight=one.weight, name=one.host)
            for one in self.current.named[name]
            for address in self._resolved.get((one.host, one.port), ())
        )
        return table.BackendEndpoints(backend=name, endpoints=entries + looked_up)

    async def keep(self) -> None:
        """Follows the file and the names until cancelled."""
        waited = 0.0
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            waited += WATCH_SECONDS
            if self._source.changed():
                await self.reload()
            if waited >= RESOLVE_SECONDS:
                waited = 0.0
                if await self.resolve():
                    await self._plane.apply_endpoints(self._endpoints())


async def _run(source: Any, metrics: str, stats: bool, log_to: str = "") -> None:
    from fairlead.base import clock
    from fairlead.dataplane import engine

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with lbfolder.held(source.key) as folder:
        try:
            binary = spawn.find_binary()
        except spawn.EngineMissing as error:
            raise failure.Failure(str(error)) from None
        plane = engine.EnginePlane(f"{folder}/engine.sock", clock=clock.SystemClock(), on_failure=_bug, binary=binary)
        if lbfolder.is_left(folder):
            click.echo("adopting the engine that a killed fairlead lb has left", err=True)
        await plane.start()
        try:
            await _serve(_Balancer(plane, source), plane, stop, metrics, stats, f"{folder}/stats.sock", log_to)
        finally:
            await plane.shutdown(grace_seconds=GRACE_SECONDS)
            await plane.close()


async def _serve(
    balancer: _Balancer, plane: Any, stop: asyncio.Event, metrics: str, stats: bool, socket: str, log_to: str
) -> None:
    destination = _destination(log_to)
    if refused := await balancer.apply():
        raise failure.Failure(*refused, *hint(refused))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(balancer.reload()))
    for listener in balancer.current.structure.listeners.values():
        for socket_id in listener.sockets:
            click.echo(f"listening {listener.protocol}://{socket_id.partition(':')[2]}")
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(balancer.keep())]
            if metrics:
                tasks.append(group.create_task(lbstats.serve_metrics(metrics, socket)))
            if destination is not None:
                tasks.append(group.create_task(_log(destination, socket)))
            if stats:
                tasks.append(group.create_task(lbstats.show(socket)))
            await stop.wait()
            click.echo("finishing what is in flight")
            for task in tasks:
                task.cancel()
    except ExceptionGroup as several:  # what an `except*` raises is in a group again before Python 3.11.4
        mistakes, bugs = several.split(failure.Failure)
        if mistakes is None or bugs is not None:
            raise
        raise mistakes.exceptions[0] from None


def hint(refused: list[str]) -> list[str]:
    """What to do where an engine of ours has the port."""
    held = re.search(r"taken by fairlead-master \(pid (\d+)\)", " ".join(refused))
    if held is None:
        return []
    return [
        "that is an engine of fairlead's: another fairlead lb or cluster runs; or a killed lb has left it, which the "
        f"same -f or --listen adopts, and which ends with: kill {held[1]}"
    ]


def _destination(log_to: str) -> access_log.Destination | None:
    try:
        return access_log.Destination(log_to) if log_to else None
    except OSError as error:
        raise failure.Failure(f"--access-log {log_to}: {error.strerror}") from None


async def _log(destination: access_log.Destination, socket: str) -> None:
    from fairlead.base import clock

    await access_log.follow(socket, destination, clock=clock.SystemClock())


def _bug(where: str, error: BaseException) -> None:
    """What fails is begun again; the engine carries on meanwhile."""
    click.echo(f"{where} failed; this is a bug: {error!r}", err=True)
