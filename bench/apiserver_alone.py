"""The API server and its store, alone in a process: `python -m bench.apiserver_alone STATE` says its URL when ready."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from fairlead.apiserver import server
from fairlead.store import sqlite


async def serve(state: Path) -> None:
    """Until it is ended."""
    state.mkdir(exist_ok=True)
    store = sqlite.SqliteStore(state / "store.db")
    await store.open()
    api = server.ApiServer(store, server.ApiServerConfig(state_folder=state, node_name="node"))
    await api.start()
    print(api.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
