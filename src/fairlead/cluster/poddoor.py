"""The API server's door to the pods: logs, commands and connections, kept by the node agent once it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fairlead.apiserver import pod_door
from fairlead.node import agent, runtime

Object = dict[str, Any]


class PodDoor:
    """What `apiserver.pod_door.PodDoor` asks for, answered by a NodeAgent."""

    def __init__(self, node: agent.NodeAgent) -> None:
        self._node = node

    async def logs(self, pod: Object, options: pod_door.LogOptions) -> AsyncIterator[bytes]:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        try:
            return self._node.logs(
                namespace,
                name,
                options.container,
                follow=options.follow,
                since=options.since,
                tail=options.tail_lines,
                previous=options.previous,
                timestamps=options.timestamps,
                limit_bytes=options.limit_bytes,
            )
        except agent.NoSuchPod as error:
            raise pod_door.DoorError(400, str(error)) from None

    async def exec(self, pod: Object, options: pod_door.ExecOptions) -> pod_door.Session:
        if options.stdin or options.tty:
            raise pod_door.DoorError(
                501, "exec with standard input or a terminal is not offered yet; leave -i and -t out"
            )
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        try:
            done = await self._node.exec(namespace, name, options.container, options.command)
        except (agent.NoSuchPod, runtime.StartFailed) as error:
            raise pod_door.DoorError(400, str(error)) from None
        return _Finished(done)

    async def attach(self, pod: Object, options: pod_door.ExecOptions) -> pod_door.Session:
        raise pod_door.DoorError(501, "attach is not offered yet; kubectl logs -f shows what the container prints")

    async def connect(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        try:
            address = self._node.pod_ip(namespace, name)
            at = self._node.ports(namespace, name).get(str(port), port)
            return await asyncio.open_connection(address, at)
        except agent.NoSuchPod as error:
            raise pod_door.DoorError(404, str(error)) from None
        except OSError as error:
            raise pod_door.DoorError(502, f"pod {name} does not take connections on port {port}: {error}") from None


class _Finished:
    """A command that has run to its end; what it printed is handed out once."""

    def __init__(self, done: runtime.ExecResult) -> None:
        self._parts = [(1, done.stdout), (2, done.stderr)]
        self._code = done.exit_code

    async def read(self) -> tuple[int, bytes] | None:
        while self._parts:
            stream, data = self._parts.pop(0)
            if data:
                return stream, data
        return None

    async def write(self, data: bytes) -> None:
        """There is no standard input."""

    async def end_input(self) -> None:
        """There is no standard input."""

    async def resize(self, *, width: int, height: int) -> None:
        """There is no terminal."""

    async def wait(self) -> int:
        return self._code

    async def close(self) -> None:
        """It has ended."""
