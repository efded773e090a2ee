"""Whole clusters for proofs, one for each network mode that this machine allows."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairlead.cluster import rootless
from tests.system import local

ROOTLESS = () if rootless.reason_against() else ("rootless",)
MODES = ("loopback", "kernel", *ROOTLESS) if os.geteuid() == 0 else ("loopback", *ROOTLESS)


@pytest.fixture(scope="module", params=MODES)
def my_app(request: pytest.FixtureRequest) -> Iterator[local.Local]:
    """A cluster that runs the example application."""
    cluster = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), request.param)
    try:
        cluster.up(local.EXAMPLE)
        yield cluster
    finally:
        local.remove(cluster)


@pytest.fixture(params=MODES)
def empty(request: pytest.FixtureRequest) -> Iterator[local.Local]:
    """A cluster that is not started."""
    cluster = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), request.param)
    try:
        yield cluster
    finally:
        local.remove(cluster)


@pytest.fixture(autouse=True)
async def _closed_connections() -> AsyncIterator[None]:
    """Connections that a test closed last are really closed before its loop ends."""
    yield
    for _ in range(5):
        await asyncio.sleep(0)
