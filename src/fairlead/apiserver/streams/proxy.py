"""pods/NAME:PORT/proxy/PATH and services/NAME:PORT/proxy/PATH: one plain HTTP request to what is behind.

Asked in HTTP/1.0, so that the answer ends with the connection. Refused: https backends, upgrades, answers over 64 MiB.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import Any

from fairlead.apiserver import codec, pod_door, pod_logs, requests, status
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
SECONDS = 30.0
BODY_BYTES = 64 << 20
_HOP = (
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "authorization",
    "content-length",
    "host",
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def split_name(text: str) -> tuple[str, str]:
    """(name, port) of `[http:]name[:port]`. Raises ApiError."""
    parts = text.split(":")
    if len(parts) == 3:
        if parts[0] not in ("", "http"):
            raise status.bad_request(f"the scheme {parts[0]!r} is not proxied, only http")
        parts = parts[1:]
    return parts[0], parts[1] if len(parts) == 2 else ""


async def answer(store: protocol.Store, info: requests.Info, door: pod_door.PodDoor | None) -> exchange.Response:
    """The backend's answer. Raises ApiError."""
    if info.resource not in ("pods", "services"):
        raise status.not_implemented(
            f"{info.resource}/proxy is not offered by fairlead: kubectl logs, exec and top ask the API server itself"
        )
    name, port = split_name(info.name)
    try:
        async with asyncio.timeout(SECONDS):
            if info.resource == "pods":
                reader, writer = await _to_pod(store, info, name, port, door)
            else:
                reader, writer = await _to_service(store, info, name, port)
            return await _ask(info, reader, writer)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise status.failure(502, "BadGateway", f"error trying to reach {info.resource} {name}: {error}") from error


async def _to_pod(
    store: protocol.Store, info: requests.Info, name: str, port: str, door: pod_door.PodDoor | None
) -> Connection:
    entry = store.get(f"pods/{info.namespace}/{name}")
    if entry is None:
        raise status.failure(404, "NotFound", f'pods "{name}" not found')
    if door is None:
        raise status.unavailable("no node agent is connected that could reach the pod")
    pod = codec.decode(entry.value)
    number = _container_port(pod, port)
    try:
        return await door.connect(pod, number)
    except pod_door.DoorError as error:
        raise pod_logs.refusal(error) from error


def _container_port(pod: Object, port: str) -> int:
    if port.isdecimal():
        return int(port)
    for container in pod["spec"].get("containers") or ():
        for one in container.get("ports") or ():
            if not port or one.get("name") == port:
                return int(one["containerPort"])
    if port:
        raise status.bad_request(f'no port "{port}" of the pod is known')
    return 80


async def _to_service(store: protocol.Store, info: requests.Info, name: str, port: str) -> Connection:
    entry = store.get(f"services/{info.namespace}/{name}")
    if entry is None:
        raise status.failure(404, "NotFound", f'services "{name}" not found')
    ports = (codec.decode(entry.value).get("spec") or {}).get("ports") or []
    wanted = next((one for one in ports if not port or port in (one.get("name"), str(one.get("port")))), None)
    if wanted is None:
        raise status.unavailable(f'no service port "{port}" found for service "{name}"')
    for slice_entry in store.page(f"endpointslices.discovery.k8s.io/{info.namespace}/").entries:
        found = codec.decode(slice_entry.value)
        if (found["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != name:
            continue
        number = next(
            (one.get("port") for one in found.get("ports") or () if one.get("name", "") == wanted.get("name", "")), None
        )
        for endpoint in found.get("endpoints") or ():
            if number and (endpoint.get("conditions") or {}).get("ready") is not False:
                return await asyncio.open_connection(endpoint["addresses"][0], number)
    raise status.unavailable(f'no endpoints available for service "{name}"')


async def _ask(info: requests.Info, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> exchange.Response:
    query = urllib.parse.urlencode([(key, value) for key, values in info.query.items() for value in values])
    target = urllib.parse.quote("/" + info.rest, safe="/:@!$&'()*+,;=-._~") + (f"?{query}" if query else "")
    headers = {name: value for name, value in info.headers.items() if name not in _HOP and "\n" not in value}
    lines = [
        f"{info.method} {target} HTTP/1.0",
        f"host: {info.name}",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    if info.body:
        lines.append(f"content-length: {len(info.body)}")
    writer.write("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + info.body)
    try:
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        code = int(head[0].split(" ")[1])
        answered = {}
        for line in head[1:]:
            key, _, value = line.partition(":")
            if key and key.lower() not in _HOP:
                answered[key.lower()] = value.strip()
        body = await _rest(reader)
    finally:
        writer.close()
    return exchange.Response(code, answered, body)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    pieces, size = [], 0
    while data := await reader.read(65536):
        size += len(data)
        if size > BODY_BYTES:
            raise ValueError(f"the answer is larger than {BODY_BYTES} bytes")
        pieces.append(data)
    return b"".join(pieces)
