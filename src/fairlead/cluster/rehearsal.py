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
from fairlead.cluster import backup, edge_certificate, families, state
from fairlead.store import sqlite

SERVICES = {"IPv4": "10.96.0.0/16", "IPv6": "fd00:10:96::/112"}


@contextlib.asynccontextmanager
async def of(
    folder: state.StateFolder, running: AsyncIterator[bytes] | None, ip_family: str = "auto"
) -> AsyncIterator[tuple[protocol.Client, state.StateFolder]]:
    """A Client, and the temporary folder. `running` is the backup that a running cluster sends; `ip_family` is as for a
    start of one that does not run. Raises BackupError, StateBusy, CannotStart."""
    first, second = _services(folder.read(), ip_family)
    with tempfile.TemporaryDirectory(prefix="fairlead-dry-run-") as place:
        copy = state.StateFolder(folder.name, Path(place))
        if running is not None:
            await backup.save(running, copy.store)
        elif folder.store.exists():
            backup.save_stopped(folder, copy.store)
        store = sqlite.SqliteStore(copy.store)
        await store.open()
        config = server.ApiServerConfig(
            state_folder=copy.path, cluster_name=folder.name, service_cidr=first, second_service_cidr=second
        )
        api = server.ApiServer(store, config)
        try:
            await api.start()
            edge_certificate.ensure(copy.pki, now=time.time())
            yield inprocess.client(api.exchange, server.ADMIN), copy
        finally:
            await api.close()
            await store.close()


def _services(record: state.Record, ip_family: str) -> tuple[str, str]:
    """The Services' ranges: those that the cluster has, else those that it would get if all are free."""
    if record.service_cidr:
        return record.service_cidr, record.second_service_cidr
    order = families.decide(ip_family, record).order
    return SERVICES[order[0]], SERVICES[order[1]] if len(order) > 1 else ""
