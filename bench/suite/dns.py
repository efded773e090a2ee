"""`dns`: A questions for 1,000 local names, one core each: answers a second and CPU per answer with 100 questions in
flight (dnsperf), then p99 at a fixed rate that all can serve. Names, addresses and TTL are the same for everybody."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import candidates, cpu, engine, engine_driver, lab, load, proxying, report, rounds
from bench.peers import program
from fairlead.routing import table

SUMMARY = "DNS for local names: answers a second and p99 against unbound and dnsmasq"
NAMES = 1000
DOMAIN = "cluster.local"
TTL_SECONDS = 5
STEADY_RATE = 5000
_DONE = re.compile(r"Queries completed:\s+(\d+)")
_LOST = re.compile(r"Queries lost:\s+(\d+)")
_RATE = re.compile(r"Queries per second:\s+([\d.]+)")
_CODES = re.compile(r"Response codes:\s+NOERROR (\d+) \(100")


def records() -> dict[str, str]:
    """Name -> address, as a cluster of so many Services has them."""
    first = ipaddress.ip_address("10.96.1.0")
    return {f"service-{index}.default.svc.{DOMAIN}": str(first + index) for index in range(NAMES)}


class Running:
    """A server at `port`."""

    def __init__(self, process: lab.Process, port: int) -> None:
        self.process, self.port = process, port

    def pids(self) -> Sequence[int]:
        return [self.process.pid]


async def run(lab_: lab.Lab) -> report.Report:
    """Several rounds in turn."""
    dnsperf = program.find("dnsperf")
    started: dict[str, Running] = {}
    missing: dict[str, str] = {}
    only = lab_.options.only.split(",") if lab_.options.only else []
    for name, start in {"fairlead": _engine, "unbound": _unbound, "dnsmasq": _dnsmasq}.items():
        if only and name not in only:
            continue
        try:
            started[name] = await start(lab_)
        except (candidates.Missing, candidates.Unable, RuntimeError) as error:
            missing[name] = proxying.reason(error)
    questions = lab_.path("questions") / "names"
    questions.write_text("".join(f"{name} A\n" for name in records()))
    common = [dnsperf, "-d", str(questions)]
    flood, steady = (["-n", str(round(lab_.seconds(3.0, 1.0) * runs))] for runs in (100, STEADY_RATE / NAMES))

    async def measure(one: Running) -> rounds.Figures:
        before = cpu.family_seconds(one.pids())
        text = await _dnsperf(lab_, [*common, "-p", str(one.port), *flood])
        used = cpu.family_seconds(one.pids()) - before
        answered, rate = _counted(text)
        text = await _dnsperf(lab_, [*common, "-p", str(one.port), *steady, "-Q", str(STEADY_RATE), "-v"])
        _counted(text)
        return {
            "cpu_us_per_answer": used / answered * 1e6,
            "answers_per_second": rate,
            "answers_per_cpu_second": answered / used,
            **_latencies(text),
        }

    found = await rounds.in_turn(lab_, started, lab_.rounds(7, 3), measure, missing=missing)
    ours = found.pop("fairlead", {})
    goals = [
        proxying.at_least_best("answers_per_cpu_second", ours, found, "answers per CPU second of the best peer's"),
        proxying.at_most_best("p99_ms", ours, found, 1.0),
    ]
    return report.Report(bench="dns", main="cpu_us_per_answer", ours=ours, peers=found, missing=missing, goals=goals)


async def _dnsperf(lab_: lab.Lab, argv: list[str]) -> str:
    process = lab_.spawn("dnsperf", argv, core=lab_.cores.load, stdout=subprocess.PIPE)
    return (await load.Running(process).whole()).decode()


def _counted(text: str) -> tuple[int, float]:
    """Answers and answers a second. Raises RuntimeError where an answer was lost or was no address."""
    done, lost, rate = _DONE.search(text), _LOST.search(text), _RATE.search(text)
    if done is None or lost is None or rate is None:
        raise RuntimeError(f"dnsperf said nothing of its questions: {text[-300:]}")
    if int(lost[1]) or not _CODES.search(text):
        raise RuntimeError(f"{lost[1]} answers were lost, or some were errors: {text[-600:]}")
    return int(done[1]), float(rate[1])


def _latencies(text: str) -> dict[str, float]:
    """p50 and p99 in ms of dnsperf's own word about each answer: `> NOERROR NAME A 0.000123`."""
    seen = [float(line.rpartition(" ")[2]) * 1e3 for line in text.splitlines() if line.startswith("> NOERROR ")]
    cut = statistics.quantiles(seen, n=100)
    return {"p50_ms": cut[49], "p99_ms": cut[98]}


async def _engine(lab_: lab.Lab) -> Running:
    """The engine with a zone of these names."""
    control = lab_.path("fairlead") / "engine.sock"
    process = lab_.spawn("fairlead", [engine.binary(), "master", "--socket", str(control)], core=lab_.cores.candidate)
    driver = await engine.connected(process, control)
    with engine.listening_socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        udp.setblocking(False)
        doors = {f"udp:127.0.0.1:{port}": udp, f"tcp:127.0.0.1:{port}": tcp}
        await driver.sockets(doors)
        nacks = await driver.structure(_structure(tuple(doors)))
    if nacks:
        raise candidates.Unable(f"the engine does not carry it: {nacks[0]}")
    return _Ours(process, port, driver)


class _Ours(Running):
    def __init__(self, process: lab.Process, port: int, driver: engine_driver.Driver) -> None:
        super().__init__(process, port)
        self._driver = driver  # its connection keeps the table


def _structure(doors: tuple[str, ...]) -> table.Structure:
    names = {
        name: table.Name(id=name, name=name, values=(address,), ttl_seconds=TTL_SECONDS)
        for name, address in records().items()
    }
    names["zone"] = table.Name(id="zone", name=DOMAIN)
    listener = table.Listener(id="dns", protocol="dns", sockets=doors)
    return table.Structure(listeners={"dns": listener}, names=names)


async def _unbound(lab_: lab.Lab) -> Running:
    """unbound with one thread and the names as local data."""
    lines = [f'    local-data: "{name}. {TTL_SECONDS} IN A {address}"' for name, address in records().items()]
    text = """server:
    interface: 127.0.0.1
    port: {port}
    num-threads: 1
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    verbosity: 0
    module-config: "iterator"
    local-zone: "{domain}." static
{records}
"""
    shape: Mapping[str, str] = {"domain": DOMAIN, "records": "\n".join(lines)}
    return await _peer(lab_, "unbound", text, shape, ["-d", "-c"])


async def _dnsmasq(lab_: lab.Lab) -> Running:
    """dnsmasq with the names as host records."""
    lines = [f"host-record={name},{address},{TTL_SECONDS}" for name, address in records().items()]
    text = """port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
keep-in-foreground
user=
pid-file=
local=/{domain}/
{records}
"""
    return await _peer(lab_, "dnsmasq", text, {"domain": DOMAIN, "records": "\n".join(lines)}, ["-C"])


async def _peer(lab_: lab.Lab, name: str, text: str, shape: Mapping[str, str], flags: list[str]) -> Running:
    path = program.find(name)
    folder, port = lab_.path(name), lab.free_port()
    file: Path = folder / f"{name}.conf"
    file.write_text(text.format(port=port, folder=folder, **shape))
    process = lab_.spawn(name, [path, *flags, str(file)], core=lab_.cores.candidate, env={"HOME": os.devnull})
    await lab.listening(process, port)
    return Running(process, port)
