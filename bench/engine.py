"""fairlead's engine as a candidate: master and worker on one core, a table over the control socket, statistics and
retries on as they are by default."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bench import candidates, engine_driver, lab
from fairlead.routing import table

_ALGORITHMS = {"round-robin": "round-robin", "least": "least-request", "two": "power-of-two"}


def binary() -> str:
    """FAIRLEAD_ENGINE, else beside this Python, else on the PATH; raises Missing."""
    beside = Path(sys.executable).with_name("fairlead-engine")
    named = os.environ.get("FAIRLEAD_ENGINE") or (str(beside) if beside.exists() else shutil.which("fairlead-engine"))
    if not named or not Path(named).exists():
        raise candidates.Missing("fairlead-engine is not built; `make build` does it")
    return named


def structure(job: candidates.Job, socket_id: str) -> table.Structure:
    """The table that does the job."""
    tcp = job.mode == "tcp"
    certificates = {}
    if job.certificate:
        pem = Path(job.certificate).read_text()
        certificates["edge"] = table.Certificate(id="edge", chain_pem=pem, key_pem=pem)
    listener = table.Listener(
        id="edge",
        protocol="tcp" if tcp else ("https" if job.certificate else "http"),
        sockets=(socket_id,),
        backend="s0" if tcp else "",
        certificates=tuple(certificates),
        http=None if tcp else table.HttpSettings(h2c=job.h2 and not job.certificate),
    )
    names = [f"s{index}" for index in range(job.services)]
    backends = {name: _backend(name, job) for name in names}
    return table.Structure(
        listeners={"edge": listener},
        routes={} if tcp else routes(job),
        backends=backends,
        certificates=certificates,
    )


def _backend(name: str, job: candidates.Job) -> table.Backend:
    """`job.algorithm` may be any of the engine's own words, too."""
    algorithm = _ALGORITHMS.get(job.algorithm, job.algorithm)
    if job.mode == "tcp":
        return table.Backend(id=name, protocol="tcp", algorithm=algorithm)
    protocol: Literal["h2c", "http"] = "h2c" if job.h2_backend else "http"
    return table.Backend(id=name, protocol=protocol, algorithm=algorithm, hash_on=_hash_on(job))


def _hash_on(job: candidates.Job) -> str:
    return job.hash_on if job.algorithm in ("hash", "maglev", "ring-hash") else ""


def routes(job: candidates.Job) -> dict[str, table.Route]:
    """`bench.test` and as many other hosts as the job wants."""
    hosts = [("bench", "bench.test"), *((f"r{index}", f"route-{index}.test") for index in range(job.routes - 1))]
    to = (table.WeightedBackend(backend="s0"),)
    return {name: table.Route(id=name, listeners=("edge",), hosts=(host,), backends=to) for name, host in hosts}


def endpoint_sets(job: candidates.Job) -> list[table.BackendEndpoints]:
    """The endpoints of every Backend."""
    pairs = [address.rpartition(":") for address in job.backends]
    endpoints = tuple(table.Endpoint(address=host, port=int(port)) for host, _, port in pairs)
    return [table.BackendEndpoints(backend=f"s{index}", endpoints=endpoints) for index in range(job.services)]


def listening_socket() -> socket.socket:
    """A listening socket on an ephemeral loopback port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


class Engine:
    """See the module. `part` is what is started: `master`, or a `worker` alone."""

    def __init__(self, name: str = "fairlead", part: str = "master") -> None:
        self.name = name
        self._part = part

    async def start(self, lab_: lab.Lab, job: candidates.Job) -> Running:
        """Starts it and gives it the table."""
        control = lab_.path(self.name) / "engine.sock"
        argv = [binary(), self._part, "--socket", str(control)]
        argv += ["--threads", "1"] if self._part == "worker" else []
        process = lab_.spawn(self.name, argv, core=lab_.cores.candidate)
        driver = await connected(process, control)
        with listening_socket() as listener:
            port = listener.getsockname()[1]
            running = Running(process, driver, port)
            await driver.sockets({running.socket_id: listener})
            await running.apply(job)
        await lab.listening(process, port)
        return running


async def connected(process: lab.Process, control: Path) -> engine_driver.Driver:
    """A control connection, as soon as the engine takes one. Raises Unable."""
    end = time.monotonic() + 10
    while True:
        try:
            return await engine_driver.Driver.connect(control)
        except OSError:
            if time.monotonic() > end or process.popen.poll() is not None:
                raise candidates.Unable(f"the engine did not start: {process.tail()}") from None
            await asyncio.sleep(0.02)


class Running:
    """An engine at work."""

    def __init__(self, process: lab.Process, driver: engine_driver.Driver, port: int) -> None:
        self.process = process
        self.driver = driver
        self.address = f"127.0.0.1:{port}"
        self.socket_id = f"tcp:127.0.0.1:{port}"

    def pids(self) -> Sequence[int]:
        """The master; the worker is its child."""
        return [self.process.pid]

    async def apply(self, job: candidates.Job) -> None:
        """Sends the whole table; raises Unable when the engine does not take an object of it."""
        nacks = await self.driver.structure(structure(job, self.socket_id))
        nacks += await self.driver.endpoints(endpoint_sets(job))
        if nacks:
            raise candidates.Unable(f"the engine does not carry it: {nacks[0]}")

    async def change(self, job: candidates.Job) -> None:
        """Endpoints only: the fast half of the table."""
        await self.driver.endpoints(endpoint_sets(job))

    async def change_structure(self, job: candidates.Job, *, extra: bool) -> None:
        """A Route and its Backend more, or less."""
        if not extra:
            await self.driver.remove(routes=["extra"], backends=["extra"])
            return
        routes_ = routes(msgspec.structs.replace(job, routes=2))
        to = (table.WeightedBackend(backend="extra"),)
        more = table.Structure(
            routes={"extra": msgspec.structs.replace(routes_["r0"], id="extra", backends=to)},
            backends={"extra": _backend("extra", job)},
        )
        await self.driver.structure(more, full=False)

    def stop(self) -> None:
        """Ends it."""
        self.process.stop()
