"""Balancing at connect time in a whole cluster: it is there, it says so, and it is gone with the process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.cluster import teardown
from fairlead.dataplane.connect_time import kernel, load
from tests.system import local

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF and a kernel network need root"),
]
INSIDE = "import socket; s = socket.create_connection(('{}', 80)); s.send(b'GET / HTTP/1.0\\r\\n\\r\\n'); "
INSIDE += "print(s.getpeername()[0], s.recv(999).decode().split()[-1])"


@pytest.fixture
def cluster() -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "kernel")
    try:
        yield made
    finally:
        local.remove(made)


def status(cluster: local.Local) -> str:
    """What `fairlead status` says of it, once that is known."""
    while True:
        lines = cluster.fairlead("status", "--name", cluster.name).stdout.splitlines()
        said = next(line.removeprefix("connect").strip() for line in lines if line.startswith("connect "))
        if not said.startswith("not yet"):
            return said


def programs(pid: int) -> set[int]:
    """The programs that this process keeps attached."""
    found = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            told = dict(line.split(":", 1) for line in entry.read_text().splitlines())
            if "attach_type" in told:
                found.add(int(told["prog_id"]))
    return found


def attached() -> set[int]:
    """The programs of everybody's that sockets of this machine meet."""
    top = os.open(load.top(), os.O_RDONLY)
    try:
        return {number for name in kernel.ATTACH for number in kernel.attached(top, name)}
    finally:
        os.close(top)


def assert_detached(programs: set[int], *, seconds: float = 5.0) -> None:
    """A child between fork and exec holds its parent's descriptors a moment longer than its parent lived."""
    deadline = time.monotonic() + seconds
    while programs & attached() and time.monotonic() < deadline:
        pass
    assert not programs & attached()


def translated(address: str) -> int:
    """How many connections to that address the kernel has translated."""
    done = subprocess.run(["conntrack", "-L", "--orig-dst", address], capture_output=True, text=True, check=False)
    return done.stdout.count("ESTABLISHED") + done.stdout.count("TIME_WAIT") + done.stdout.count("CLOSE")


def test_services_are_balanced_at_connect_time_as_long_as_the_process_lives(cluster: local.Local) -> None:
    cluster.up(local.EXAMPLE)
    assert status(cluster).startswith("on: ")
    ours = programs(cluster.state.holder())
    assert len(ours) == len(kernel.ATTACH)
    assert ours <= attached()
    address = cluster.kubectl("get", "service", "my-app-service", "-o", "jsonpath={.spec.clusterIP}")
    pods = cluster.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}").split()

    def answers() -> list[int]:
        said = [urllib.request.urlopen(f"http://{address}/", timeout=5).read() for _ in range(6)]
        return sorted(Counter(said).values())

    assert answers() == [2, 2, 2]
    said = cluster.fairlead("explain", "service/my-app-service", "--name", cluster.name).stdout
    assert "carried by kernel (local clients are led straight to an endpoint)" in said
    peer, server = cluster.kubectl("exec", pods[0], "--", "python3", "-c", INSIDE.format(address)).split()
    assert peer == address
    assert server in pods
    assert translated(address) == 0

    with socket.create_connection((address, 80)) as client:
        teardown.end(cluster.state.holder())  # SIGKILL
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(1000)
    assert_detached(ours)
    assert answers() == [2, 2, 2]
    assert translated(address) > 0

    cluster.up()
    assert status(cluster).startswith("on: ")
    ours = programs(cluster.state.holder())
    cluster.down()
    assert ours
    assert_detached(ours)


def test_it_can_be_left_off(cluster: local.Local) -> None:
    cluster.fairlead("up", "-d", *cluster.arguments(), "--connect-time", "off")
    assert status(cluster) == "off: asked for with --connect-time"
    assert programs(cluster.state.holder()) == set()
