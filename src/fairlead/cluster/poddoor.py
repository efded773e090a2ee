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
        meta = pod["metadata"]
        try:
            return await self._node.open_exec(
                meta["namespace"],
                meta["name"],
                options.container,
                options.command,
                stdin=options.stdin,
                tty=options.tty,
            )
        except (agent.NoSuchPod, runtime.StartFailed, runtime.SandboxLost) as error:
            raise pod_door.DoorError(400, str(error)) from None

    async def attach(self, pod: Object, options: pod_door.ExecOptions) -> pod_door.Session:
        meta = pod["metadata"]
        try:
            return await self._node.open_attach(meta["namespace"], meta["name"], options.container)
        except (agent.NoSuchPod, runtime.StartFailed, runtime.SandboxLost) as error:
            raise pod_door.DoorError(400, str(error)) from None

    async def connect(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        try:
            return await self._node.connect(namespace, name, port)
        except agent.NoSuchPod as error:
            raise pod_door.DoorError(404, str(error)) from None
        except OSError as error:
            raise pod_door.DoorError(502, f"pod {name} does not take connections on port {port}: {error}") from None
