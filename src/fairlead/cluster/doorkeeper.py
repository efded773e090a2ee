"""The process that stays outside when a cluster goes into namespaces of its own: it opens sockets on the machine.

Promises: what it opens is bound and listening in the network namespace in which it was started; a refusal comes back as
SocketRefused with the reason (a taken port names its holder); it ends with the connection of who started it. It also
connects the cluster's namespace with the outside, by pasta or slirp4netns where one is installed. One question at a
time, blocking, each under a millisecond (but the connection to the outside, once).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from fairlead.base import descriptors
from fairlead.dataplane import sockets

_MOST_BYTES = 4096
_PATIENCE_SECONDS = 5.0
CONNECTORS = ("slirp4netns", "pasta")  # pasta of early 2023 loses what is forwarded from pods
NOTE = "connector"  # the file by which its process is known
MTU = "1500"  # as the pods have: a larger one on the way in would be lost on the way on


class Doorkeeper:
    """Our end. Start it before there are threads or an event loop."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def start(cls) -> Doorkeeper:
        """Forks it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            _serve(theirs)
        theirs.close()
        return cls(ours)

    def open(self, socket_id: str) -> socket.socket:
        """As `sockets.open_socket`, but outside. Raises SocketRefused."""
        answer, found = self._ask({"open": socket_id})
        if not found:
            raise sockets.SocketRefused(answer.get("error", "the process outside has ended"))
        opened = socket.socket(fileno=found[0])
        opened.setblocking(False)
        return opened

    def connect(self, pid: int, folder: Path) -> str:
        """Connects the network of that process with the outside; says how, or why not."""
        answer, _ = self._ask({"connect": pid, "folder": str(folder)})
        return answer.get("how", "")

    def _ask(self, question: dict[str, object]) -> tuple[dict[str, str], list[int]]:
        try:
            self._connection.send(json.dumps(question).encode())
            message, found = descriptors.receive(self._connection, _MOST_BYTES, most=1)
        except OSError as error:
            raise sockets.SocketRefused(f"the process outside has ended: {error}") from None
        return (json.loads(message) if message else {}), found

    def close(self) -> None:
        """Lets it end."""
        self._connection.close()


def connector() -> str:
    """The program that can connect a namespace with the outside, or ""."""
    return next((name for name in CONNECTORS if shutil.which(name)), "")


def _serve(connection: socket.socket) -> None:
    """The child's whole life; it never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for who started us
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _keep_only(connection)
        while message := connection.recv(_MOST_BYTES):
            _answer(connection, json.loads(message))
    finally:
        os._exit(0)


def _keep_only(connection: socket.socket) -> None:
    """Descriptors of the parent's that others wait for the end of must not live on in us."""
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor not in (connection.fileno(), 2):
            with contextlib.suppress(OSError):
                os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nothing, standard)


def _answer(connection: socket.socket, question: dict[str, object]) -> None:
    if "connect" in question:
        how = _connect(int(str(question["connect"])), Path(str(question["folder"])))
        connection.send(json.dumps({"how": how}).encode())
        return
    try:
        opened = sockets.open_socket(str(question["open"]))
    except sockets.SocketRefused as error:
        connection.send(json.dumps({"error": str(error)}).encode())
        return
    with opened:
        socket.send_fds(connection, [b"{}"], [opened.fileno()])


def _connect(pid: int, folder: Path) -> str:
    """Starts the connector; it goes on without us and ends with the namespace, or with `down`."""
    program, note = connector(), str(folder / NOTE)
    if not program:
        return "pods do not reach the outside: neither pasta nor slirp4netns is installed"
    words = {
        "pasta": ["pasta", "--quiet", "--config-net", "--mtu", MTU, "-t", "none", "-u", "none", "-T", "none",
                  "-U", "none", "--runas", f"{os.geteuid()}:{os.getegid()}", "--pid", note, str(pid)],
        "slirp4netns": ["slirp4netns", "--configure", f"--mtu={MTU}", "--disable-host-loopback",
                        "--api-socket", note, str(pid), "tap0"],
    }[program]  # fmt: skip
    with (folder / "connector.log").open("ab") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    if program == "pasta":  # goes to the background when it is ready
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(_PATIENCE_SECONDS):
                return f"pods do not reach the outside: pasta failed, see {folder / 'connector.log'}"
    return f"pods reach the outside through {program}"
