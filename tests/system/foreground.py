"""`fairlead up` in the foreground, for proofs of how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.system import local

Running = tuple[local.Local, asyncio.subprocess.Process]


@contextlib.asynccontextmanager
async def up(network: str, folder: Path) -> AsyncIterator[Running]:
    """A cluster that runs what is in the folder, everything ready. It may be ended in the block; after it, it has."""
    folder.chmod(0o777)
    cluster = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), network)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "fairlead.cli.main", "up", "--keep", *cluster.arguments(), folder,
        env=cluster.environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = b""
        while b"Ctrl-C" not in said:
            said += (line := await asyncio.wait_for(process.stdout.readline(), 60))
            assert line, said.decode()
        yield cluster, process
    finally:
        if process.returncode is None:
            await asyncio.to_thread(cluster.down, "--force")
        await process.stdout.read()
        await asyncio.to_thread(local.remove, cluster)


def end(cluster: local.Local, process: asyncio.subprocess.Process, how: str) -> None:
    """`down`, which returns when the cluster has ended, or a signal."""
    if how == "down":
        cluster.down()
    else:
        process.send_signal(getattr(signal, how))
