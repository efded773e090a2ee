"""A process that only writes, for the durability tests.

`writer.py DB ACKS SYNCHRONOUS NUMBER` writes so often; `writer.py serve DB FOLDER` forks a writer for every line it
reads, so that a thousand of them cost no thousand imports.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from fairlead.store import sqlite

KEYS = 40


def body(key: str, revision: int) -> bytes:
    """A value that says which write it is, and is long enough to be torn."""
    return f"{key}@{revision}:".encode() * 60


async def write(database: Path, acks: int, *, synchronous: str, number: int, seed: int) -> None:
    """Writes, and says on the descriptor which writes were acknowledged."""
    store = sqlite.SqliteStore(database, synchronous=synchronous)
    await store.open()
    source = random.Random(seed)

    async def one() -> None:
        key = f"a/{source.randrange(KEYS)}"
        entry = await store.write(key, lambda revision: body(key, revision))
        os.write(acks, f"{entry.revision} {key}\n".encode())

    for step in range(number):
        await asyncio.gather(*(one() for _ in range(source.randrange(1, 6))))
        if step % 60 == 59:
            await store.compact(store.revision - 20)
    await store.close()


def serve(database: Path, acks_folder: Path) -> None:
    """Forks a writer for each line `SEED`; prints its pid."""
    for line in sys.stdin:
        seed = int(line)
        pid = os.fork()
        if pid == 0:
            acks = os.open(acks_folder / str(seed), os.O_WRONLY | os.O_CREAT, 0o600)
            asyncio.run(write(database, acks, synchronous="FULL", number=1_000_000, seed=seed))
            os._exit(0)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT, 0o600)
        asyncio.run(write(Path(sys.argv[1]), descriptor, synchronous=sys.argv[3], number=int(sys.argv[4]), seed=1))
