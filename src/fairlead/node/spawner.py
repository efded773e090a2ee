"""One small process that starts the shims of all pods (`fairlead-engine shim DIR --spawner`, docs/protocol.md).

Promises: it is started with the first pod and again after its death; shims outlive it and us. A start that cannot be is
StartFailed. Why it is there: each copy of our own process, for a pod's shim, stops the loop for milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.node import children, protocols, runtime, shim


@dataclass(frozen=True, slots=True)
class Made:
    """A shim's pid, and whether its network is connected."""

    pid: int
    connected: bool = False


class Spawner:
    """Starts shims in folders of `folder`. `engine` are the words that run the engine's program."""

    def __init__(self, engine: Sequence[str], folder: Path) -> None:
        self._words = (*engine, "shim", str(folder), "--spawner")
        self._child: children.Child | None = None
        self._connection: shim.ShimConnection | None = None

    async def start(
        self,
        name: str,
        config: Mapping[str, Any],
        *,
        files: Mapping[str, str],
        timeout_seconds: float,
        wiring: Sequence[protocols.Batch] = (),
    ) -> Made:
        """A new shim in the folder of that name, which has those files and listens. Raises StartFailed."""
        network = [{"inside": one.inside, "messages": one.messages} for one in wiring]  # bytes go as base64
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await self._connected().request(
                    "start", name=name, config=config, files=files, network=network
                )
        except (shim.ShimGone, shim.ShimRefused) as error:
            raise runtime.StartFailed("FailedCreatePodSandBox", str(error)) from error
        except OSError as error:
            raise runtime.StartFailed("FailedCreatePodSandBox", f"the shim cannot be started: {error}") from error
        except TimeoutError as error:
            raise runtime.StartFailed("FailedCreatePodSandBox", "the shim did not answer") from error
        return Made(int(answer["pid"]), connected=bool(answer.get("connected")))

    def _connected(self) -> shim.ShimConnection:
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._child = children.spawn(self._words, env=os.environ, stdin=theirs)
            ours.setblocking(False)
            self._connection = shim.ShimConnection(ours)
            self._connection.on_gone = self._gone
        return self._connection

    def _gone(self) -> None:
        self._connection = None

    async def close(self) -> None:
        """Lets it end; the shims go on."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        if self._child is not None:
            await self._child.ended.wait()
            self._child = None
