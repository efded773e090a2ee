"""The port of a local cluster's API server: the one that is asked for, else the one it had, else 6443, else any."""

from __future__ import annotations

import dataclasses
import os

from fairlead.apiserver import server
from fairlead.base import clock as clocks
from fairlead.cluster import errors
from fairlead.store import protocol

USUAL = 6443


async def listening(
    store: protocol.Store, wanted: server.ApiServerConfig, *, before: int, clock: clocks.Clock
) -> server.ApiServer:
    """The API server, started; a port of 0 is none that is asked for, `before` the one it had. Raises CannotStart."""
    ports = [wanted.port] if wanted.port else [before or USUAL, USUAL, 0]
    why = ""
    for port in ports:
        api = server.ApiServer(store, dataclasses.replace(wanted, port=port), clock=clock)
        try:
            await api.start()
        except OSError as error:
            await api.close()
            why = os.strerror(error.errno) if error.errno else str(error)
            continue
        return api
    raise errors.CannotStart(f"the API server cannot listen on port {ports[0]}: {why}; see --api-port")
