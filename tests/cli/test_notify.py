"""What systemd is told: that we live, three times in the time after which it would replace us."""

import asyncio
import socket
from pathlib import Path

from fairlead.cli import notify
from fairlead.testing import clock


def heard(door: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(door.recv(100))
        except BlockingIOError:
            return found


async def test_who_asked_is_told_and_nobody_inherits_the_asking(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "n"))
        door.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1", "X": "y"}
        made, fake = notify.Notifier(environment), clock.FakeClock()
        assert environment == {"X": "y"}
        made.tell("READY=1")
        assert heard(door) == [b"READY=1"]
        living = asyncio.ensure_future(made.live(fake))
        await fake.advance(61.0)
        assert heard(door) == [b"WATCHDOG=1"] * 4
        living.cancel()


async def test_without_a_watchdog_nothing_is_told() -> None:
    await notify.Notifier({"NOTIFY_SOCKET": "/nowhere"}).live(clock.FakeClock())
    await notify.Notifier({}).live(clock.FakeClock())
