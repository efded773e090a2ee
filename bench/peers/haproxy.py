"""HAProxy: `haproxy.cfg`, master-worker so that a reload keeps its connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import string
from pathlib import Path

from bench import candidates, lab
from bench.peers import program

_TEMPLATE = Path(__file__).with_name("haproxy.cfg")
_BALANCE = {"round-robin": "roundrobin", "least": "leastconn", "two": "random(2)"}


def render(job: candidates.Job, port: int, folder: Path) -> str:
    """The configuration file."""
    http = "option http-keep-alive\n    http-reuse always" if job.mode == "http" else ""
    http += "\n    option splice-response" if job.large else ""
    bind = f"ssl crt {job.certificate} alpn {'h2,' if job.h2 else ''}http/1.1" if job.certificate else ""
    if job.h2 and not job.certificate:
        bind = "proto h2"
    routes: list[str] = []
    if job.routes > 1:  # a map is HAProxy's way of many hosts
        table = folder / "hosts.map"
        table.write_text("".join(f"route-{index}.test s0\n" for index in range(job.routes - 1)) + "bench.test s0\n")
        routes = [f"    use_backend %[req.hdr(host),lower,map_str({table},s0)]"]
    return string.Template(_TEMPLATE.read_text()).substitute(
        socket=folder / "admin.sock",
        ssl="ssl-default-bind-options ssl-min-ver TLSv1.2" if job.certificate else "",
        mode=job.mode,
        http=http,
        port=port,
        bind=bind,
        choose="\n".join(routes),
        backends="\n".join(_backend(job, index) for index in range(job.services)),
    )


def _backend(job: candidates.Job, index: int) -> str:
    proto = " proto h2" if job.h2_backend else ""
    servers = [f"    server b{at} {address}{proto}" for at, address in enumerate(job.backends)]
    return "\n".join([f"backend s{index}", f"    balance {_BALANCE[job.algorithm]}", *servers])


class HAProxy:
    """See `render`."""

    name = "haproxy"

    async def start(self, lab_: lab.Lab, job: candidates.Job) -> candidates.Running:
        """Starts the master, which starts the worker."""
        path = program.find("haproxy")
        folder, port = lab_.path(self.name), lab.free_port()
        file = folder / "haproxy.cfg"
        file.write_text(render(job, port, folder))
        process = lab_.spawn(self.name, [path, "-W", "-db", "-f", str(file)], core=lab_.cores.candidate)
        await lab.listening(process, port)
        return _Running(process, port, file)


class _Running(program.Program):
    def __init__(self, process: lab.Process, port: int, file: Path) -> None:
        super().__init__(process, port)
        self._file, self._port = file, port

    async def change(self, job: candidates.Job) -> None:
        """A reload: the master starts a new worker and the old one finishes its connections."""
        self._file.write_text(render(job, self._port, self._file.parent))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGUSR2)
        await asyncio.sleep(0)
