"""A killed test run leaves nothing behind for longer than until the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests import scratch

LONG = "import pathlib, sys, time; print(flush=True); time.sleep(600)"


def a_dead_run(parent: Path) -> Path:
    folder, held = scratch.claim(parent)
    os.close(held)  # as the kernel does when the owner dies
    (folder / "fl-node-x").mkdir()
    (folder / "fl-node-x/file").write_text("left")
    return folder


def test_a_run_that_lives_is_left_alone_and_a_dead_one_is_found(tmp_path):
    living, held = scratch.claim(tmp_path)
    dead = a_dead_run(tmp_path)
    (tmp_path / "flt-mine-not").mkdir()
    assert scratch.abandoned(tmp_path) == [dead]
    os.close(held)
    assert sorted(scratch.abandoned(tmp_path)) == sorted([living, dead])


def test_the_processes_of_a_dead_run_are_ended_and_its_folder_removed(tmp_path):
    dead = a_dead_run(tmp_path)
    within = subprocess.Popen([sys.executable, "-c", LONG], cwd=dead / "fl-node-x", stdout=subprocess.PIPE)
    named = subprocess.Popen([sys.executable, "-c", LONG, f"--folder={dead}/fl-node-x"], stdout=subprocess.PIPE)
    other = subprocess.Popen([sys.executable, "-c", LONG, f"{dead}x"], cwd=tmp_path, stdout=subprocess.PIPE)
    with within, named, other:
        for process in (within, named, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
        scratch.clear(dead)
        assert (within.wait(10), named.wait(10)) == (-9, -9)
        assert psutil.pid_exists(other.pid)
        other.kill()
    assert not dead.exists()


def test_this_run_has_a_folder_of_its_own(tmp_path):
    assert any(part.startswith(scratch.PREFIX) for part in tmp_path.parts)
