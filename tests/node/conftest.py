"""A running node agent for tests, in loopback mode."""

import shutil
import sys
import tempfile
from pathlib import Path

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
