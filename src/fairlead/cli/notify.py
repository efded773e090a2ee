"""What systemd is told (sd_notify(3)): that the cluster is up, and from then on that the loop turns.

Promises: nobody is told who did not ask; children do not inherit the asking. A fairlead that hangs tells nothing, and a
unit with `WatchdogSec` has it replaced.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import MutableMapping

from fairlead.base import clock as clocks

SHARE = 1 / 3  # of the time after which we count as hung


class Notifier:
    """Takes what it needs out of the environment."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        wanted = environment.pop("WATCHDOG_USEC", "")
        environment.pop("WATCHDOG_PID", None)
        self._seconds = int(wanted) / 1e6 if wanted.isdigit() else 0.0

    def tell(self, text: str) -> None:
        """One message, to whoever asked."""
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
                door.sendto(text.encode(), "\0" + self._address[1:] if self._address[0] == "@" else self._address)

    async def live(self, clock: clocks.Clock) -> None:
        """Says that we live, for ever; returns where nobody wants to know."""
        while self._address and self._seconds:
            self.tell("WATCHDOG=1")
            await clock.sleep(self._seconds * SHARE)
