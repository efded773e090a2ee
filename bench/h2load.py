"""Runs h2load (nghttp2) where a client must speak TLS or HTTP/2, and reads what it says.

It counts requests that failed, errored or timed out; each such request makes the run worthless, so it is an error here.
"""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
from pathlib import Path

import msgspec

from bench import candidates, cpu, lab, load, rounds
from fairlead.base import x509

_TOTALS = re.compile(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_TIMES = re.compile(r"time for request:\s+\S+\s+(\S+)\s+(\S+)")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One run against `address`."""

    address: str
    seconds: float
    tls: bool = True
    http1: bool = False
    clients: int = 16
    streams: int = 10
    path: str = "/"
    headers: tuple[str, ...] = ()
    body: Path | None = None
    new_per_second: int = 0  # so many new connections a second with one request each, instead of kept ones


def argv(spec: Spec) -> list[str]:
    """The command line."""
    scheme = "https" if spec.tls else "http"
    words = ["h2load", "-t1", f"-m{1 if spec.http1 else spec.streams}", f"--connect-to={spec.address}"]
    if spec.new_per_second:
        count = round(spec.new_per_second * spec.seconds)
        words += [f"-n{count}", f"-c{count}", f"-r{spec.new_per_second}"]
    else:
        words += [f"-c{spec.clients}", "-D", f"{spec.seconds:g}"]
    words += ["--h1"] if spec.http1 else []
    words += [f"--header={header}" for header in spec.headers]
    words += [f"--data={spec.body}"] if spec.body else []
    return [*words, f"{scheme}://bench.test:{spec.address.rpartition(':')[2]}{spec.path}"]


def _milliseconds(text: str) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * _UNITS[unit]


def parse(text: str) -> tuple[int, int, rounds.Figures]:
    """Requests that succeeded, requests that did not, and the times of a request."""
    totals, times = _TOTALS.search(text), _TIMES.search(text)
    if totals is None or times is None:
        raise RuntimeError(f"h2load said nothing of its requests:\n{text[-500:]}")
    _, succeeded, failed, errored, timed_out = (int(number) for number in totals.groups())
    figures = {"max_ms": _milliseconds(times[1]), "mean_ms": _milliseconds(times[2])}
    return succeeded, failed + errored + timed_out, figures


async def figures(lab_: lab.Lab, running: candidates.Running, spec: Spec) -> rounds.Figures:
    """One run: CPU per request over all of the candidate's processes."""
    before = cpu.family_seconds(running.pids())
    process = lab_.spawn("h2load", argv(spec), core=lab_.cores.load, stdout=subprocess.PIPE)
    text = (await load.Running(process).whole()).decode()
    used = cpu.family_seconds(running.pids()) - before
    succeeded, wrong, times = parse(text)
    if wrong or not succeeded:
        raise RuntimeError(f"{running.address}: {wrong} of {wrong + succeeded} requests failed:\n{text[-400:]}")
    return {"cpu_us_per_request": used / succeeded * 1e6, "requests_per_second": succeeded / spec.seconds, **times}


def certificate(lab_: lab.Lab) -> str:
    """A PEM file with a new self-signed P-256 certificate for bench.test, and its key."""
    file = lab_.path("tls") / "edge.pem"
    file.write_text("".join(x509.self_signed(["bench.test"], now=datetime.datetime.now(datetime.UTC), days=1)))
    return str(file)


async def grpc_backend(lab_: lab.Lab) -> str:
    """nghttpd on HTTP/2 without TLS: answers every call with a small message and `grpc-status: 0` as its trailer."""
    if shutil.which("nghttpd") is None:
        raise candidates.Missing("nghttpd is not installed; scripts/install-peers does it")
    folder, port = lab_.path("nghttpd"), lab.free_port()
    (folder / "bench.Echo").mkdir()
    (folder / "bench.Echo" / "Say").write_bytes(b"\x00\x00\x00\x00\x20" + b"m" * 32)
    words = ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(folder), "--trailer", "grpc-status: 0", "-m", "1000"]
    process = lab_.spawn("nghttpd", [*words, str(port)], core=lab_.cores.load)
    await lab.listening(process, port)
    return f"127.0.0.1:{port}"
