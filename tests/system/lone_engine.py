"""The real engine without a cluster: a table of a test's own, servers of a test's own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from fairlead.base import clock
from fairlead.dataplane import engine, spawn
from fairlead.routing import table
from fairlead.testing import ports


def missing() -> str:
    """Why there is none, or nothing."""
    try:
        spawn.find_binary()
    except spawn.EngineMissing:
        return "no fairlead-engine was built"
    return ""


def free_ports(names: Iterable[str]) -> dict[str, int]:
    return {name: ports.free() for name in names}


def one_to_one(listener: table.Listener, port: int) -> tuple[table.Structure, list[table.BackendEndpoints]]:
    """A Listener whose requests all go to the server at that port."""
    name = listener.id
    structure = table.Structure(
        listeners={name: listener},
        routes={name: table.Route(id=name, listeners=(name,), backends=(table.WeightedBackend(backend=name),))},
        backends={name: table.Backend(id=name)},
    )
    endpoint = table.Endpoint(address="127.0.0.1", port=port)
    return structure, [table.BackendEndpoints(backend=name, endpoints=(endpoint,))]


@contextlib.asynccontextmanager
async def carrying(
    folder: Path, parts: Iterable[tuple[table.Structure, list[table.BackendEndpoints]]]
) -> AsyncIterator[engine.EnginePlane]:
    """An engine that carries all of these."""
    failures: list[tuple[str, BaseException]] = []
    plane = engine.EnginePlane(
        str(folder / "engine.sock"),
        clock=clock.SystemClock(),
        on_failure=lambda name, error: failures.append((name, error)),
        binary=spawn.find_binary(),
        log_path=str(folder / "engine.log"),
    )
    await plane.start()
    try:
        await plane.connected()
        whole = table.Structure()
        for structure, endpoints in parts:
            whole.listeners.update(structure.listeners)
            whole.routes.update(structure.routes)
            whole.backends.update(structure.backends)
            whole.certificates.update(structure.certificates)
            await plane.apply_endpoints(endpoints)
        assert (await plane.acked(await plane.apply(whole))).nacks == ()
        yield plane
    finally:
        await plane.shutdown(grace_seconds=0)
        await plane.close()
    assert not failures
