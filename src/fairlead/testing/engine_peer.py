"""A faithful engine without traffic: speaks docs/protocol.md on a Unix socket, keeps the table, answers as a real one.

For tests of whoever controls an engine. What it has been told is in `objects`, `endpoints`, `probes`, `drains` and
`sockets`; a test says what it refuses (`refuse`), when acks wait (`hold_acks`), that a drain or a probe is over, and
can lose the connection or forget everything (`restart`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import socket
from typing import Any

from fairlead.dataplane import wire

_SECTIONS = (*wire.SECTIONS,)


class EnginePeer:
    """One master at `path`. `start` listens; `close` ends it and removes the path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.refuse: dict[str, str] = {}
        self.received: list[dict[str, Any]] = []
        self.connections = 0
        self.changed = asyncio.Condition()
        self._connection: socket.socket | None = None
        self._server: socket.socket | None = None
        self._held: list[dict[str, Any]] | None = None
        self._forget()

    def _forget(self) -> None:
        self.objects: dict[str, dict[str, bytes]] = {section: {} for section in _SECTIONS}
        self.endpoints: dict[str, bytes] = {}
        self.probes: dict[str, dict[str, Any]] = {}
        self.drains: dict[str, str] = {}
        self.sockets: dict[str, int] = {}
        self.epoch = self.seq = 0

    def start(self) -> None:
        """Listens at the path."""
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._server.bind(self.path)
        self._server.listen(4)
        asyncio.get_running_loop().add_reader(self._server, self._accept)

    def close(self) -> None:
        self.lose()
        if self._server is not None:
            asyncio.get_running_loop().remove_reader(self._server)
            self._server.close()
            pathlib.Path(self.path).unlink(missing_ok=True)
        self._close_sockets(list(self.sockets))

    def lose(self) -> None:
        """Drops the connection, keeps the table."""
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection)
            self._connection.close()
            self._connection = None

    def restart(self) -> None:
        """A new master that knows nothing."""
        self.lose()
        self._close_sockets(list(self.sockets))
        self._forget()

    def hold_acks(self) -> None:
        """Acks wait until `release_acks`."""
        self._held = []

    def release_acks(self) -> None:
        held, self._held = self._held or [], None
        for ack in held:
            self.say(ack)

    def say(self, event: dict[str, Any]) -> None:
        """Sends an event of the engine's."""
        if self._connection is not None:
            body = json.dumps(event).encode()
            with contextlib.suppress(OSError):
                self._connection.sendall(len(body).to_bytes(4, "big") + body)

    def finish_drain(self, address: str, in_flight: int = 0) -> None:
        """Nothing is in flight to the address any more."""
        for name, held in self.drains.items():
            if held == address:
                self.say({"type": "drained", "id": name, "address": address, "in_flight": in_flight})

    def table(self, section: str) -> dict[str, dict[str, Any]]:
        """The objects of one section, decoded."""
        return {name: json.loads(body) for name, body in self.objects[section].items()}

    def endpoints_of(self, backend: str) -> list[str]:
        """`address:port`, or `address:port/draining`."""
        found = json.loads(self.endpoints.get(backend, b"[]"))
        return [f"{e['address']}:{e['port']}" + ("/draining" if e.get("state") == "draining" else "") for e in found]

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        """Returns when the condition holds after some message. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    def _accept(self) -> None:
        assert self._server is not None
        connection, _ = self._server.accept()
        self.lose()  # a newer connection replaces the older
        connection.setblocking(True)
        self._connection, self.connections = connection, self.connections + 1
        frames, descriptors = wire.Frames(), list[int]()
        asyncio.get_running_loop().add_reader(connection, self._read, connection, frames, descriptors)

    def _read(self, connection: socket.socket, frames: wire.Frames, descriptors: list[int]) -> None:
        data, received, _, _ = socket.recv_fds(connection, 1 << 16, 253)
        descriptors += received
        if not data:
            self.lose()
            return
        for body in frames.feed(data):
            self._take(body, descriptors)
        asyncio.ensure_future(self._notify())  # noqa: RUF006  (a test's loop; nothing waits on it)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def _take(self, body: bytes, descriptors: list[int]) -> None:
        message = json.loads(body)
        self.received.append(message)
        match message["type"]:
            case "hello":
                self._welcome()
            case "sockets":
                for one in message["sockets"]:
                    self.sockets[one["id"]] = descriptors.pop(0)
            case "ping":
                self.say({"type": "pong", "id": message["id"]})
            case "shutdown":
                self.lose()
            case _:
                self._change(message, body)

    def _welcome(self) -> None:
        hashes = {
            section: {name: wire.hash_of(body) for name, body in found.items()}
            for section, found in self.objects.items()
        }
        hashes["endpoints"] = {name: wire.hash_of(body) for name, body in self.endpoints.items()}
        told = {"type": "welcome", "version": 1, "engine_version": "peer", "master_pid": os.getpid(), "worker_pid": 1}
        self.say({**told, "epoch": self.epoch, "seq": self.seq, "hashes": hashes, "sockets": list(self.sockets)})

    def _change(self, message: dict[str, Any], body: bytes) -> None:
        if message["epoch"] < self.epoch:
            self.say({"type": "error", "message": "an older epoch", "epoch": message["epoch"], "seq": message["seq"]})
            return
        expected = self.seq + 1 if message["epoch"] == self.epoch else 1
        assert message["seq"] == expected, f"sequence {message['seq']} after {self.seq}"
        self.epoch, self.seq = message["epoch"], message["seq"]
        nacks = getattr(self, f"_take_{message['type']}")(message) or []
        ack = {"type": "ack", "epoch": self.epoch, "seq": self.seq, "nacks": nacks}
        if self._held is None:
            self.say(ack)
        else:
            self._held.append(ack)

    def _take_structure(self, message: dict[str, Any]) -> list[dict[str, str]]:
        nacks = []
        for section in _SECTIONS:
            for name in message.get("removed", {}).get(section, ()):
                self.objects[section].pop(name, None)
            for one in message.get(section, ()):
                name = f"{section.removesuffix('s')}/{one['id']}"
                if name in self.refuse:
                    nacks.append({"object": name, "path": "", "message": self.refuse[name]})
                else:
                    self.objects[section][one["id"]] = json.dumps(one, separators=(",", ":")).encode()
        for name in list(self.endpoints):
            if name not in self.objects["backends"]:
                del self.endpoints[name]
        named = {name for one in self.table("listeners").values() for name in one.get("sockets", ())}
        self._close_sockets([name for name in self.sockets if name not in named])
        return nacks

    def _take_endpoints(self, message: dict[str, Any]) -> None:
        for one in message["backends"]:
            self.endpoints[one["backend"]] = json.dumps(one["endpoints"], separators=(",", ":")).encode()

    def _take_probes(self, message: dict[str, Any]) -> None:
        if message.get("full"):
            self.probes.clear()
        for one in message.get("set", ()):
            self.probes[one["id"]] = one
        for name in message.get("removed", ()):
            self.probes.pop(name, None)

    def _take_drain(self, message: dict[str, Any]) -> None:
        self.drains[message["id"]] = message["address"]

    def _take_undrain(self, message: dict[str, Any]) -> None:
        self.drains.pop(message["id"], None)

    def _close_sockets(self, names: list[str]) -> None:
        for name in names:
            os.close(self.sockets.pop(name))
