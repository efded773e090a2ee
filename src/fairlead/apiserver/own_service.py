"""`default/kubernetes`: the Service through which pods reach the API, with the endpoints of this very server.

It has the first address of the first Service range, and is of that address family alone, as in Kubernetes. Its
EndpointSlice and Endpoints are written at every start, because the server's port may have changed.
"""

from __future__ import annotations

import contextlib
from typing import Any

from fairlead.api import kinds
from fairlead.apiserver import addresses as pools
from fairlead.apiserver import authentication, chain
from fairlead.client import errors, rest
from fairlead.store import protocol

Object = dict[str, Any]
NAME, NAMESPACE = "kubernetes", "default"
_SYSTEM = authentication.SERVER


async def publish(
    store: protocol.Store, parts: chain.Chain, allocator: pools.Allocator, *, addresses: tuple[str, ...], port: int
) -> None:
    """Writes the Service and its endpoints, which are of the first address family."""
    client = rest.RestClient(parts, identity=_SYSTEM)
    if store.get(f"services/{NAMESPACE}/{NAME}") is None:
        await _reserve(client, allocator, port)
    metadata = {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}}
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    piece = {"metadata": metadata, "addressType": allocator.families[0], "endpoints": endpoints, "ports": ports}
    await _write(client, kinds.ENDPOINT_SLICE, piece)
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    subset = {"addresses": [{"ip": address} for address in addresses], "ports": ports}
    await _write(client, kinds.ENDPOINTS, {"metadata": {"name": NAME, "labels": labels}, "subsets": [subset]})


async def _reserve(client: rest.RestClient, allocator: pools.Allocator, port: int) -> None:
    address = str(allocator.network.network_address + 1)
    spec = {
        "clusterIP": address,
        "clusterIPs": [address],
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
    }
    labels = {"component": "apiserver", "provider": "kubernetes"}
    with contextlib.suppress(errors.ApiError):  # a range that was changed: the Service keeps what it has
        await client.create(
            kinds.SERVICE, {"metadata": {"name": NAME, "labels": labels}, "spec": spec}, namespace=NAMESPACE
        )


async def _write(client: rest.RestClient, kind: kinds.Kind, obj: Object) -> None:
    try:
        await client.create(kind, obj, namespace=NAMESPACE)
    except errors.ApiError as error:
        if not error.already_exists:
            raise
        metadata = {**obj["metadata"], "namespace": NAMESPACE}
        await client.update(kind, {**obj, "metadata": metadata})
