"""The programs' maps in our hands: the helper is started, its descriptors are taken, changes are written.

Endpoints and heads are written through shared memory, addresses and network namespaces by bpf(2). Every descriptor is
closed on exec: with this process the programs end, whatever becomes of its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import pathlib
import socket
import sys
import threading

from fairlead.base import descriptors
from fairlead.dataplane.connect_time import books, kernel, layout

HELPER = "fairlead.dataplane.connect_time.load"
LIMIT_SECONDS = 10.0
_CODE = pathlib.Path(__file__).parents[3]  # the helper is of the same code as we are
_DESCRIPTORS = 64


class CannotLoad(Exception):
    """The programs cannot be had here; the message says why."""


class Tables:
    """The maps, and the links that keep the programs attached."""

    def __init__(self, maps: dict[str, int], links: dict[str, int]) -> None:
        self._maps, self._links = maps, links
        self._memory = {
            name: mmap.mmap(maps[name], one.entries * one.value_bytes)
            for name, one in layout.MAPS.items()
            if one.shared
        }
        self._words = memoryview(self._memory["backends"]).cast("Q")

    def write(self, change: books.Change) -> None:
        """Everything of the change. A program finds a Backend as it was or as it is now."""
        for first, block in change.blocks:
            at = first * layout.ENDPOINT_BYTES
            self._memory["endpoints"][at : at + len(block)] = block
        _order_stores()
        for number, head in change.heads.items():
            self._words[number * layout.BACKEND_WORDS] = head
        for key, number in change.added.items():
            kernel.update(self._maps["services"], key, number.to_bytes(4, sys.byteorder))
        for key in change.gone:
            with contextlib.suppress(FileNotFoundError):
                kernel.delete(self._maps["services"], key)

    def turns(self, number: int) -> int:
        """How many connections that Backend's number has had."""
        return int(self._words[number * layout.BACKEND_WORDS + 1])

    def admit(self, namespace: int) -> None:
        """Sockets of that network namespace (its cookie) are served."""
        kernel.update(self._maps["namespaces"], namespace.to_bytes(8, sys.byteorder), b"\1")

    def dismiss(self, namespace: int) -> None:
        """They are not any more."""
        with contextlib.suppress(FileNotFoundError):
            kernel.delete(self._maps["namespaces"], namespace.to_bytes(8, sys.byteorder))

    def close(self) -> None:
        """Detaches the programs; connections go on."""
        for descriptor in (*self._links.values(), *self._maps.values()):
            os.close(descriptor)
        self._words.release()
        for memory in self._memory.values():
            memory.close()


async def load() -> Tables:
    """Runs the helper and takes what it made. Raises CannotLoad."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", HELPER, str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(_CODE)},
            )  # fmt: skip
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                _, problem = await process.communicate()
        except TimeoutError:
            raise CannotLoad(f"the helper took over {LIMIT_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _taken(ours, problem.decode(errors="replace"))


def _taken(ours: socket.socket, problem: str) -> Tables:
    ours.setblocking(False)
    text, received = descriptors.receive(ours, 65536, most=_DESCRIPTORS)
    if not text:
        raise CannotLoad(f"the helper failed: {(problem.strip().splitlines() or ['it said nothing'])[-1]}")
    said = json.loads(text)
    if "why" in said:
        raise CannotLoad(said["why"])
    count = len(said["maps"])
    maps, links = received[:count], received[count:]
    return Tables(dict(zip(said["maps"], maps, strict=True)), dict(zip(said["links"], links, strict=True)))


def _order_stores() -> None:
    """What was stored before is seen before what is stored after: a lock's release and acquire, twice, is a full
    barrier on every machine that the programs are built for."""
    lock = threading.Lock()
    for _ in range(2):
        with lock:
            pass
