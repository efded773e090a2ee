"""A running node agent for tests, and a network namespace for those that make networks."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))
import house as houses


@pytest_asyncio.fixture
async def house():
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    made = houses.House(folder)
    await made.start()
    try:
        yield made
    finally:
        if made.agent is not None:
            await made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_network():
    """The test (and every thread that it starts) lives in a network namespace of its own, with lo up."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert libc.unshare(0x40000000) == 0
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    number = os.stat(
        "/proc/thread-self/ns/net"
    ).st_ino  # the kernel gives it again: a note of it is of a dead namespace
    shutil.rmtree(f"/run/fairlead/net-{number}", ignore_errors=True)
    try:
        yield
    finally:
        assert libc.setns(home, 0x40000000) == 0
        os.close(home)
