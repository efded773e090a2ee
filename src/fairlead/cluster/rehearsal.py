"""A cluster's API over a copy of its objects, to see what a change would do: nothing of the cluster itself is touched.

The copy is a backup, of a running cluster or of one that does not run; a cluster that never was is an empty one. It
lives in a temporary folder of mode 0700 and ends with the block. There is an API server and nothing else: no
controller, no node agent, no plane, so nothing that is written there starts anything.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fairlead.apiserver import server
from fairlead.client import inprocess, protocol
from fairlead.cluster import backup, edge_certificate, state
from fairlead.store import sqlite

SERVICES = "10.96.0.0/16"


@contextlib.asynccontextmanager
async def of(
    folder: state.StateFolder, running: AsyncIterator[bytes] | None
) -> AsyncIterator[tuple[protocol.Client, state.StateFolder]]:
    """A Client, and the temporary folder. `running` is the backup that a running cluster sends. Raises BackupError,
    StateBusy."""
    with tempfile.TemporaryDirectory(prefix="fairlead-dry-run-") as place:
        copy = state.StateFolder(folder.name, Path(place))
        if running is not None:
            await backup.save(running, copy.store)
        elif folder.store.exists():
            backup.save_stopped(folder, copy.store)
        store = sqlite.SqliteStore(copy.store)
        await store.open()
        config = server.ApiServerConfig(
            state_folder=copy.path, cluster_name=folder.name, service_cidr=folder.read().service_cidr or SERVICES
        )
        api = server.ApiServer(store, config)
        try:
            await api.start()
            edge_certificate.ensure(copy.pki, now=time.time())
            yield inprocess.client(api.exchange, server.ADMIN), copy
        finally:
            await api.close()
            await store.close()
