"""Network mode `rootless`: what root would do on the machine, done in user, network and mount namespaces of our own.

This process goes into them before anything else runs; engine, shims and pods are born there. The doors stay outside: a
small process that was forked before opens their sockets on the machine's side (`doorkeeper`). A second one, the holder,
keeps the namespaces alive when we die, so that the next start finds pods, addresses and rules as they were. What is of
one user outside is root's inside; nobody else exists there (user_namespaces(7), no newuidmap needed).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.cluster import doorkeeper, state
from fairlead.dataplane import netlink as nft_netlink
from fairlead.dataplane import nftables, sockets
from fairlead.node.network import netlink

HOLDER = "fairlead-holder"
_NEW_USER, _NEW_NET, _NEW_MOUNTS = 0x10000000, 0x40000000, 0x20000
_LOOPBACK = 1
_libc = ctypes.CDLL(None, use_errno=True)


class CannotEnter(Exception):
    """This machine does not let us make the namespaces; the message says what refused."""


@dataclass(slots=True)
class Outside:
    """The machine's side of a cluster that has gone into namespaces of its own."""

    keeper: doorkeeper.Doorkeeper
    holder_pid: int
    folder: Path
    why: str = ""  # why this mode, and how pods reach the outside
    inside: set[str] = field(default_factory=set)  # addresses that are ours alone: the pods' gateway
    joined: bool = False  # the namespaces are those of an earlier life, whose pods may run in them

    def open(self, socket_id: str) -> socket.socket:
        """A door: outside, but for the addresses that are inside. Raises SocketRefused."""
        if sockets.parse(socket_id).address in self.inside:
            return sockets.open_socket(socket_id)
        return self.keeper.open(socket_id)

    def close(self, *, started: bool) -> None:
        """Ends the namespaces (what still runs in them keeps them alive). Those of an earlier life stay after a start
        that failed: the next one finds its pods in them."""
        self.keeper.close()
        if self.joined and not started:
            return
        for pid in (self.holder_pid, *_named(doorkeeper.CONNECTORS, self.folder / "run" / doorkeeper.NOTE)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def reason_against() -> str:
    """Why it would not work here; "" when it would. Tried for real, in a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        word = b"the attempt failed"
        try:
            _unshare()
            nftables.delete_table("fairlead-attempt")
            word = b""
        except (CannotEnter, OSError, nft_netlink.NetlinkError) as error:
            word = str(error).encode()
        finally:
            os.write(writing, word)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        why = said.read()
    os.waitpid(pid, 0)
    return why


def enter(folder: state.StateFolder, why: str) -> Outside:
    """Takes this process into the cluster's namespaces, new ones or those of its earlier life; `why` it is this mode is
    for `status`. Call it before there are threads. Raises CannotEnter."""
    os.environ["FAIRLEAD_STATE"] = str(folder.path.parent)  # "root" means somebody else from now on
    folder.create()
    keeper = doorkeeper.Doorkeeper.start()
    holder = holders(folder.path)
    if holder:
        _join(holder[0], ("user", "mnt", "net"))
        return Outside(keeper, holder[0], folder.path, why, joined=True)
    _unshare()
    pid = _hold(folder.run)
    with netlink.Netlink.here() as link:
        link.transact([netlink.set_up(_LOOPBACK)])
    return Outside(keeper, pid, folder.path, f"{why}; {keeper.connect(pid, folder.run)}")


def visit(folder: state.StateFolder) -> None:
    """Takes a short-lived command into the namespaces of a running cluster. Raises CannotEnter."""
    holder = holders(folder.path)
    if not holder:
        raise CannotEnter("its namespaces are gone")
    _join(holder[0], ("user", "net"))


def _unshare() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_NEW_USER | _NEW_NET | _NEW_MOUNTS) != 0:
        raise CannotEnter(f"user namespaces: {os.strerror(ctypes.get_errno())} (see user.max_user_namespaces)")
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise CannotEnter(f"user namespaces: {error}") from None


def _hold(run: Path) -> int:
    """Starts the holder: a shell that waits for a line that never comes."""
    fifo = run / "holder"
    with contextlib.suppress(FileExistsError):
        os.mkfifo(fifo, 0o600)
    words = [HOLDER, "-c", 'read -r _ <> "$0"', str(fifo)]
    return subprocess.Popen(
        words, executable="/bin/sh", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/",
    ).pid  # fmt: skip


def holders(folder: Path) -> list[int]:
    """The holder of an earlier life of this cluster, if it lives."""
    return _named((HOLDER,), folder / "run" / "holder")


def _named(programs: Iterable[str], file: Path) -> list[int]:
    """The processes of such a name whose command line has that file."""
    found = []
    for entry in _processes():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name in programs and str(file) in words:
                found.append(int(entry.name))
    return found


def _processes() -> Iterable[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _join(pid: int, kinds: Iterable[str]) -> None:
    here = Path.cwd()
    for name in kinds:
        descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(descriptor, 0) != 0:
                raise CannotEnter(f"the namespaces of the earlier life: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(descriptor)
    os.chdir(here)  # another mount namespace begins at /
