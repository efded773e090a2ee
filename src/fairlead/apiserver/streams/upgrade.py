"""Requests that ask for a WebSocket: authorized by the chain like any other, then handed to the protocol they name.

Refused: SPDY upgrades (kubectl before 1.29), with a message that says what to do; subresources that are no streams.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fairlead.apiserver import chain, codec, pod_door, pod_logs, requests, status
from fairlead.apiserver.streams import port_forward, remote_command
from fairlead.base import log as logs
from fairlead.client import errors, exchange

Object = dict[str, Any]
MESSAGE_BYTES = 4 << 20
PING_SECONDS = 30.0

log = logs.get(__name__)


class Upgrades:
    """Serves upgrade requests over one chain."""

    def __init__(self, parts: chain.Chain) -> None:
        self._chain = parts

    async def serve(self, request: exchange.Request, incoming: web.BaseRequest) -> web.StreamResponse:
        """Runs the stream to its end; what is refused is a plain answer with a Status."""
        try:
            return await self._serve(request, incoming)
        except errors.ApiError as error:
            refusal = status.response(error)
            return web.Response(status=refusal.status, headers=refusal.headers, body=refusal.body)

    async def _serve(self, request: exchange.Request, incoming: web.BaseRequest) -> web.StreamResponse:
        info = self._chain.admit(request)
        if (info.group, info.resource) != ("", "pods") or info.subresource not in ("exec", "attach", "portforward"):
            raise status.bad_request(f"{info.path} is not a stream")
        pod = self._pod(info)
        door = self._chain.pod_door
        if door is None:
            raise status.unavailable("no node agent is connected that could reach the pod")
        if info.subresource == "portforward":
            return await self._forward(pod, info, door, incoming)
        return await self._command(pod, info, door, incoming)

    def _pod(self, info: requests.Info) -> Object:
        entry = self._chain.store.get(f"pods/{info.namespace}/{info.name}")
        if entry is None:
            from fairlead.api import kinds

            raise status.not_found(kinds.POD, info.name)
        pod: Object = codec.decode(entry.value)
        return pod

    async def _command(
        self, pod: Object, info: requests.Info, door: pod_door.PodDoor, incoming: web.BaseRequest
    ) -> web.StreamResponse:
        options = exec_options(pod, info)
        if info.subresource == "exec" and not options.command:
            raise status.bad_request("you must specify at least 1 command for the container")
        socket = await _accept(incoming, remote_command.PROTOCOLS)
        try:
            start = door.exec if info.subresource == "exec" else door.attach
            session = await start(pod, options)
        except pod_door.DoorError as error:  # kubectl would try SPDY after a plain refusal and hide the reason
            await remote_command.refuse(socket, str(error))
            return socket
        await remote_command.RemoteCommand(socket, session, options).run()
        return socket

    async def _forward(
        self, pod: Object, info: requests.Info, door: pod_door.PodDoor, incoming: web.BaseRequest
    ) -> web.StreamResponse:
        socket = await _accept(incoming, (port_forward.TUNNEL, *port_forward.CHANNELS))
        if socket.ws_protocol == port_forward.TUNNEL:
            await port_forward.Tunnel(socket, door, pod).run()
        else:
            ports = [int(text) for part in info.query.get("ports", []) for text in part.split(",") if text.isdecimal()]
            await port_forward.run_channels(socket, door, pod, ports)
        return socket


def exec_options(pod: Object, info: requests.Info) -> pod_door.ExecOptions:
    """`v1.PodExecOptions` from the query. Raises ApiError 400."""
    container = pod_logs.container_of(pod, info.first("container"))
    tty = info.flag("tty")
    options = pod_door.ExecOptions(
        container,
        tuple(info.query.get("command", ())),
        stdin=info.flag("stdin"),
        stdout=info.flag("stdout"),
        stderr=info.flag("stderr") and not tty,
        tty=tty,
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise status.bad_request("you must specify at least one of stdin, stdout, stderr")
    return options


async def _accept(incoming: web.BaseRequest, protocols: tuple[str, ...]) -> web.WebSocketResponse:
    if "websocket" not in incoming.headers.get("upgrade", "").lower():
        raise status.bad_request(
            "only WebSocket upgrades are served, not SPDY; use kubectl 1.30 or newer with "
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS and KUBECTL_PORT_FORWARD_WEBSOCKETS not set to false"
        )
    socket = web.WebSocketResponse(
        protocols=protocols, max_msg_size=MESSAGE_BYTES, compress=False, heartbeat=PING_SECONDS
    )
    if not socket.can_prepare(incoming):
        asked = incoming.headers.get("sec-websocket-protocol", "")
        raise status.bad_request(f"unable to upgrade: none of the protocols {asked!r} is spoken here")
    await socket.prepare(incoming)
    return socket
