"""The table as the engine needs it: no Listeners that have no sockets, no addresses that the kernel carries."""

from __future__ import annotations

import msgspec

from fairlead.routing import carrier, table


def view(structure: table.Structure, listeners: dict[str, table.Listener]) -> table.Structure:
    """The structure with those Listeners."""
    backends = {name: engine_backend(backend) for name, backend in structure.backends.items()}
    return msgspec.structs.replace(structure, listeners=listeners, backends=backends)


def engine_backend(backend: table.Backend) -> table.Backend:
    """The Backend as the engine needs it: no addresses that the kernel carries, and none of the kernel's fields."""
    if not backend.virtual:
        return backend
    if carrier.carrier(backend) == "kernel":
        return msgspec.structs.replace(backend, virtual=())
    virtual = tuple(
        table.Virtual(address=one.address, port=one.port, node_port=one.node_port) for one in backend.virtual
    )
    return msgspec.structs.replace(backend, virtual=virtual)
