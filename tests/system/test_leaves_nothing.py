"""After the end of a cluster, gentle or not, the machine is as it was before."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import listing, local

pytestmark = pytest.mark.system


def test_down_leaves_nothing_behind(empty: local.Local) -> None:
    before = listing.take()
    empty.up(local.EXAMPLE)
    assert "processes" in listing.left(before, listing.take())
    empty.down("--purge")
    assert listing.left(before, listing.take()) == {}
    assert not empty.state.path.exists()


def test_kill_and_then_down_leaves_nothing_behind(empty: local.Local) -> None:
    before = listing.take()
    empty.up(local.EXAMPLE)
    os.kill(empty.state.holder(), signal.SIGKILL)
    empty.down()
    assert listing.left(before, listing.take()) == {}
    assert empty.state.store.exists()


def test_a_worker_whose_master_was_killed_is_found_by_down(empty: local.Local) -> None:
    before = listing.take()
    empty.up(local.EXAMPLE)
    socket_path = str(empty.state.run / "engine.sock").encode()
    os.kill(empty.state.holder(), signal.SIGKILL)
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # others end meanwhile
            if folder.name.isdigit() and socket_path in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
    assert "ended engine worker" in empty.down().stdout
    assert listing.left(before, listing.take()) == {}


def test_ctrl_c_leaves_nothing_behind(empty: local.Local) -> None:
    before = listing.take()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "fairlead.cli.main", "up", *empty.arguments(), str(local.EXAMPLE)],
        env=empty.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "Ctrl-C" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=90)[0]
    assert process.returncode == 0, "".join(seen) + rest
    assert listing.left(before, listing.take()) == {}
    assert not empty.state.path.exists()
