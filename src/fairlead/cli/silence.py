"""Endpoints that count as ready and where nobody listens: a Service's targetPort that is not the application's port.

A pod without a readiness probe is ready as soon as it runs, so nothing else tells this mistake before the first request
fails. Each such endpoint is connected to (and left at once) from here; in rootless mode, where the pods' addresses are
in another network, nothing is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.client import protocol
from fairlead.routing import translate

Object = dict[str, Any]
MAX_TRIED = 20
CONNECT_SECONDS, AGAIN_SECONDS = 1.0, 0.05


@dataclass(frozen=True, slots=True)
class Door:
    """One address of a Service's port."""

    service: str
    pod: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"nobody listens at {self.address}:{self.port}, {self.pod}"


def doors(slices: Iterable[Object], titles: set[str], pods: dict[str, Object]) -> list[Door]:
    """The ready TCP endpoints of these Services (Service/NAMESPACE/NAME) whose pods have no readiness probe. Pure."""
    return [door for one in slices for door in _of_slice(one, pods) if door.service in titles][:MAX_TRIED]


def _of_slice(one: Object, pods: dict[str, Object]) -> Iterator[Door]:
    metadata = one["metadata"]
    service = f"Service/{metadata['namespace']}/{(metadata.get('labels') or {}).get(translate.SERVICE_NAME, '')}"
    if one.get("addressType") != "IPv4":
        return
    for endpoint in one.get("endpoints") or ():
        target = endpoint.get("targetRef") or {}
        pod = pods.get(f"{metadata['namespace']}/{target.get('name', '')}")
        if pod is None or _probed(pod) or (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        for port in one.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP" and port.get("port"):
                yield Door(service, f"pod/{target['name']}", endpoint["addresses"][0], port["port"])


def _probed(pod: Object) -> bool:
    return any("readinessProbe" in container for container in pod["spec"].get("containers") or ())


async def silent(
    client: protocol.Client,
    slices: Iterable[Object],
    titles: set[str],
    *,
    patience_seconds: float = 0.0,
    clock: clocks.Clock | None = None,
) -> list[Door]:
    """Those of them that refuse a connection, also after some patience with applications that have just begun."""
    spaces = sorted({title.split("/")[1] for title in titles})
    pages = await asyncio.gather(*(client.list(kinds.POD, namespace=space) for space in spaces))
    pods = {f"{one['metadata']['namespace']}/{one['metadata']['name']}": one for page in pages for one in page.items}
    wanted = doors(slices, titles, pods)
    watch = clock or clocks.SystemClock()
    until = watch.monotonic() + patience_seconds
    refused = await asyncio.gather(*(_refuses(door, until, watch) for door in wanted))
    return [door for door, no in zip(wanted, refused, strict=True) if no]


async def _refuses(door: Door, until: float, clock: clocks.Clock) -> bool:
    while await _refused(door):
        if clock.monotonic() >= until:
            return True
        await clock.sleep(AGAIN_SECONDS)
    return False


async def _refused(door: Door) -> bool:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(door.address, door.port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):  # not to be told from here
        return False
    writer.close()
    return False
