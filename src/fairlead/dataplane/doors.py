"""Which sockets the engine has and which it lacks: opens those that Listeners name, and says which could not be.

A Listener with some of its sockets refused is carried on the others; with none left, it is not carried. Either way
there is a Nack per refused socket.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping

import msgspec

from fairlead.dataplane import sockets
from fairlead.dataplane.plane import Nack
from fairlead.routing import table

Opener = Callable[[str], socket.socket]


class Doors:
    """The sockets of one engine."""

    def __init__(self, opener: Opener = sockets.open_socket) -> None:
        self._open = opener
        self._held: set[str] = set()
        self.refused: dict[str, str] = {}

    def learn(self, held: Iterable[str]) -> None:
        """The engine says which sockets it has."""
        self._held = set(held)
        self.refused.clear()

    def open_missing(self, listeners: Mapping[str, table.Listener], *, again: bool = False) -> dict[str, socket.socket]:
        """Opens what the engine lacks and forgets what no Listener names.

        `again`: those that were refused are tried again, too; to find out who holds a port takes milliseconds.
        """
        named = {one for listener in listeners.values() for one in listener.sockets}
        self._held &= named
        self.refused = {} if again else {one: why for one, why in self.refused.items() if one in named}
        opened = {}
        for one in sorted(named - self._held - self.refused.keys()):
            try:
                opened[one] = self._open(one)
            except sockets.SocketRefused as error:
                self.refused[one] = str(error)
        self._held |= opened.keys()
        return opened

    def usable(self, listeners: Mapping[str, table.Listener]) -> dict[str, table.Listener]:
        """The Listeners with the sockets that are there."""
        if not self.refused:
            return dict(listeners)
        kept = {}
        for name, listener in listeners.items():
            there = tuple(one for one in listener.sockets if one not in self.refused)
            if there == listener.sockets:
                kept[name] = listener
            elif there:
                kept[name] = msgspec.structs.replace(listener, sockets=there)
        return kept

    def nacks(self, listeners: Mapping[str, table.Listener]) -> list[Nack]:
        """What was refused, by Listener."""
        return [
            Nack(f"listener/{name}", f"sockets[{index}]", self.refused[one])
            for name, listener in listeners.items()
            for index, one in enumerate(listener.sockets)
            if one in self.refused
        ]
