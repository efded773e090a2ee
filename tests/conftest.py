"""What every test run does first and last: tests/scratch.py."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests import scratch

RUN = pytest.StashKey[tuple[Path, int]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUN] = scratch.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """What a failed test has left can be looked at until the next run."""
    folder, held = config.stash[RUN]
    tempfile.tempdir = None
    if not config.stash.get(FAILED, False):
        shutil.rmtree(folder, ignore_errors=True)
    os.close(held)


FAILED = pytest.StashKey[bool]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[FAILED] = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
