"""`python -m fairlead.dataplane.connect_time.load FD`: the short-lived helper that makes the maps, loads the programs,
attaches them, and hands all descriptors over the socket FD before it ends.

Promises: one message, JSON: `{"maps": [...], "links": [...]}` with as many descriptors (maps first), or `{"why": TEXT}`
with none. Nothing is pinned: whoever has the descriptors has the programs, and they end with him. The programs are
attached to the top of the cgroup tree that is seen here; which network namespaces they serve the map says.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys
from typing import Any

from fairlead.dataplane.connect_time import kernel, layout

_MOUNTS = pathlib.Path("/proc/self/mountinfo")
PROGRAMS = pathlib.Path(__file__).with_name("programs.json")
_LOAD_MAP = 0x18  # BPF_LD | BPF_DW | BPF_IMM
_IS_MAP = 1  # BPF_PSEUDO_MAP_FD


class Refused(Exception):
    """It cannot be done here; the message says why."""


def main(descriptor: int) -> None:
    """Loads, and tells."""
    with socket.socket(fileno=descriptor) as asker:
        maps: dict[str, int] = {}
        links: dict[str, int] = {}
        try:
            load(maps, links)
            said: dict[str, Any] = {"maps": list(maps), "links": list(links)}
        except Refused as error:
            said, maps, links = {"why": str(error)}, {}, {}
        socket.send_fds(asker, [json.dumps(said).encode()], [*maps.values(), *links.values()])


def load(maps: dict[str, int], links: dict[str, int]) -> None:
    """Fills in the descriptors. Raises Refused."""
    if why := kernel.reason_against():
        raise Refused(why)
    cgroup = _open_top()
    try:
        for name, one in layout.MAPS.items():
            maps[name] = _try(
                f"map {name}", lambda name=name, one=one: kernel.create_map(
                    name, kind=one.kind, key_bytes=one.key_bytes, value_bytes=one.value_bytes, entries=one.entries,
                    shared=one.shared,
                ),
            )  # fmt: skip
        for name, program in json.loads(PROGRAMS.read_text())["programs"].items():
            code = instructions(program, maps)
            loaded = _try(f"program {name}", lambda name=name, code=code: kernel.load_program(name, code))
            links[name] = _try(
                f"attach {name}", lambda name=name, loaded=loaded: kernel.attach(loaded, cgroup=cgroup, name=name)
            )
            os.close(loaded)
    finally:
        os.close(cgroup)


def instructions(program: dict[str, Any], maps: dict[str, int]) -> bytes:
    """The program's code with the maps' descriptors in it."""
    code = [bytearray.fromhex(one) for one in program["code"]]
    for at, name in program["maps"].items():
        one = code[int(at)]
        if one[0] != _LOAD_MAP:
            raise Refused(f"programs.json is damaged: instruction {at} loads no map")
        one[1] = one[1] & 0x0F | _IS_MAP << 4
        one[4:8] = maps[name].to_bytes(4, "little")
    return b"".join(code)


def top() -> str:
    """Where the unified cgroup tree is mounted; "" where it is not."""
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return before.split()[4].replace("\\040", " ")
    return ""


def _open_top() -> int:
    where = top()
    if not where:
        raise Refused("no unified cgroup tree (cgroup2) is mounted")
    return os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _try(what: str, work: Any) -> int:
    try:
        return int(work())
    except OSError as error:
        raise Refused(f"the kernel refused: {what}: {error.strerror}") from None


if __name__ == "__main__":
    main(int(sys.argv[1]))
