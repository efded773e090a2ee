"""`fairlead lb`: a load balancer for any servers, without manifests: a cluster's table, policies and engine.

From flags, or from a file (`-f lb.yaml`) whose changes are applied without a lost request. Names are resolved again
every few seconds. SIGINT and SIGTERM finish what is in flight; SIGHUP reads the file at once.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec

from fairlead.api import manifest
from fairlead.base import log
from fairlead.cli import failure, lbstats, options
from fairlead.dataplane import spawn
from fairlead.routing import standalone, table

WATCH_SECONDS = 0.25
RESOLVE_SECONDS = 5.0
GRACE_SECONDS = 30.0


@click.command("lb")
@click.option("--listen", "listen", multiple=True, metavar="SCHEME://ADDR:PORT", help="http, https, tcp, udp or tls.")
@click.option("--to", "to", multiple=True, metavar="ADDR:PORT[,weight=N]", help="A server; repeat it.")
@click.option("--algorithm", default="", help="round-robin, least-request, ip-hash, prequal, ...")
@click.option("--check", default="", metavar="http:/PATH|tcp|grpc", help="Test the servers actively.")
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
    wanted = Log(flags["access_log"], flags["access_log_share"], flags["access_log_query"])
    source: _FileSource | _FlagSource = _FileSource(Path(file), wanted) if file else _FlagSource(flags, wanted)
    import uvloop

    log.configure(level="error")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(source, metrics, sys.stdout.isatty() if stats is None else stats, wanted.place))


@dataclass(frozen=True, slots=True)
class Log:
    """The access log that the flags ask for; "" is none."""

    place: str = ""
    share: float = 1.0
    query: bool = False

    def added_to(self, found: standalone.Standalone) -> standalone.Standalone:
        """With it at every Listener that does not say itself what it logs."""
        if not self.place:
            return found
        wanted = table.AccessLog(share=self.share, query=self.query)
        listeners = {}
        for name, one in found.structure.listeners.items():
            http = one.http or table.HttpSettings()
            asks = one.protocol not in ("dns", "health") and http.access_log is None
            told = msgspec.structs.replace(http, access_log=wanted) if asks else one.http
            listeners[name] = msgspec.structs.replace(one, http=told)
        return replace(found, structure=msgspec.structs.replace(found.structure, listeners=listeners))


class _FlagSource:
    """The document that the flags mean; it never changes."""

    def __init__(self, flags: dict[str, Any], wanted: Log = Log()) -> None:
        self._document, self._log = document(flags), wanted

    def read(self) -> standalone.Standalone:
        return self._log.added_to(_translated(self._document, "flags", Path.cwd()))

    def changed(self) -> bool:
        return False


class _FileSource:
    """A file that may change."""

    def __init__(self, path: Path, wanted: Log = Log()) -> None:
        self._path, self._log = path, wanted
        self._stamp: tuple[float, int] = (0.0, 0)

    def read(self) -> standalone.Standalone:
        try:
            self._stamp = self._now()
            documents = list(manifest.load_documents(self._path.read_bytes(), source=str(self._path)))
        except OSError as error:
            raise failure.Failure(f"{self._path}: {error.strerror}") from None
        except manifest.ManifestError as error:
            raise failure.Failure(str(error)) from None
        content = documents[0][1] if documents else None
        return self._log.added_to(_translated(content, str(self._path), self._path.parent))

    def changed(self) -> bool:
        try:
            return self._now() != self._stamp
        except OSError:
            return False  # being replaced; the next look finds it

    def _now(self) -> tuple[float, int]:
        found = self._path.stat()
        return found.st_mtime, found.st_size


def document(flags: dict[str, Any]) -> dict[str, Any]:
    """The file that says the same as the flags. Raises Failure."""
    if not flags["listen"] or not flags["to"]:
        raise failure.Failure("--listen and --to are both needed, at least once each")
    listeners = {}
    for index, address in enumerate(flags["listen"]):
        listeners[f"listener-{index}"] = {"address": address}
        if address.startswith("https:"):
            if not flags["cert"] or not flags["key"]:
                raise failure.Failure(f"--listen {address}: --cert FILE and --key FILE are needed")
            listeners[f"listener-{index}"]["certificates"] = [{"certificate": flags["cert"], "key": flags["key"]}]
    backend: dict[str, Any] = {"endpoints": [_to(text) for text in flags["to"]]}
    if flags["algorithm"]:
        backend["algorithm"] = flags["algorithm"]
    if flags["check"]:
        kind, _, path = flags["check"].partition(":")
        word = "service" if kind == "grpc" else "path"
        backend["health"] = {"kind": kind} | ({word: path} if path else {})
    return {"listeners": listeners, "backends": {"servers": backend}}


def _to(text: str) -> dict[str, Any]:
    place, *options = text.split(",")
    entry: dict[str, Any] = {"address": place}
    address, _, port = place.rpartition(":")
    if port.isdigit():
        entry = {"address": address, "port": int(port)}
    for option in options:
        key, _, value = option.partition("=")
        entry[key] = int(value) if value.isdigit() else value
    return entry


def _translated(content: Any, source: str, folder: Path) -> standalone.Standalone:
    found, problems = standalone.translate(content, source=source, read_file=lambda name: (folder / name).read_text())
    if found is None:
        raise failure.Failure(*map(str, problems))
    return found


class _Balancer:
    """Keeps the engine equal to the source."""

    def __init__(self, plane: Any, source: Any) -> None:
        self._plane, self._source = plane, source
        self._resolved: dict[tuple[str, int], tuple[str, ...]] = {}
        self.current: standalone.Standalone = source.read()

    async def apply(self) -> list[str]:
        """Sends the current table. Returns what the engine did not take."""
        await self._plane.apply(self.current.structure)
        await self.resolve()
        ack = await self._plane.acked(await self._plane.apply_endpoints(self._endpoints()))
        return [f"{nack.object}: {nack.path}: {nack.message}" for nack in (*ack.nacks, *self._plane.nacks)]

    async def reload(self) -> None:
        """Reads the source again; a mistake leaves everything as it is."""
        try:
            self.current = self._source.read()
        except failure.Failure as error:
            error.show()
            click.echo("the running configuration stays as it is", err=True)
            return
        refused = await self.apply()
        click.echo("applied the changed file" + "".join(f"\n  refused: {text}" for text in refused), err=True)

    async def resolve(self) -> bool:
        """Looks every name up; one that cannot be resolved keeps its last addresses. True when something changed."""
        loop, before = asyncio.get_running_loop(), dict(self._resolved)
        for name in {(one.host, one.port) for entries in self.current.named.values() for one in entries}:
            try:
                found = await loop.getaddrinfo(*name)
            except OSError as error:
                click.echo(f"{name[0]}: {error.strerror}", err=True)
                continue
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
    with tempfile.TemporaryDirectory(prefix="fairlead-lb-") as folder:
        try:
            binary = spawn.find_binary()
        except spawn.EngineMissing as error:
            raise failure.Failure(str(error)) from None
        plane = engine.EnginePlane(f"{folder}/engine.sock", clock=clock.SystemClock(), on_failure=_bug, binary=binary)
        await plane.start()
        try:
            await _serve(_Balancer(plane, source), plane, stop, metrics, stats, f"{folder}/stats.sock", log_to)
        finally:
            await plane.shutdown(grace_seconds=GRACE_SECONDS)
            await plane.close()


async def _serve(
    balancer: _Balancer, plane: Any, stop: asyncio.Event, metrics: str, stats: bool, socket: str, log_to: str
) -> None:
    if refused := await balancer.apply():
        raise failure.Failure(*refused)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(balancer.reload()))
    for listener in balancer.current.structure.listeners.values():
        click.echo(f"listening {listener.protocol}://{listener.sockets[0].partition(':')[2]}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(balancer.keep())]
        if metrics:
            tasks.append(group.create_task(lbstats.serve_metrics(metrics, socket)))
        if log_to:
            tasks.append(group.create_task(_log(log_to, socket)))
        if stats:
            tasks.append(group.create_task(lbstats.show(socket)))
        await stop.wait()
        click.echo("finishing what is in flight")
        for task in tasks:
            task.cancel()


async def _log(place: str, socket: str) -> None:
    from fairlead.base import clock
    from fairlead.dataplane import access_log

    try:
        await access_log.follow(socket, access_log.Destination(place), clock=clock.SystemClock())
    except OSError as error:
        raise failure.Failure(f"--access-log {place}: {error.strerror}") from None


def _bug(where: str, error: BaseException) -> None:
    raise RuntimeError(where) from error
