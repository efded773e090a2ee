"""bpf(2), as far as these programs need it: make maps, load and attach programs, change a hash map.

Follows linux/bpf.h. Every call raises OSError with what the kernel said. Needs the machine's CAP_BPF and CAP_NET_ADMIN.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Sequence

_NUMBERS = {"x86_64": (321, 324), "aarch64": (280, 283)}  # bpf, membarrier
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD, _PROG_QUERY, _LINK_CREATE = 0, 2, 3, 5, 16, 28
_MOST_PROGRAMS = 64  # of one kind at one cgroup (BPF_CGROUP_MAX_PROGS)
_KINDS = {"hash": 1, "array": 2, "lru_hash": 9}
_NO_PREALLOC, _MMAPABLE = 1, 1 << 10
_CGROUP_SOCK_ADDR = 18
_MEMBARRIER_QUERY, _MEMBARRIER_GLOBAL = 0, 1
_ATTRIBUTES_BYTES = 128
ATTACH = {
    "connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15, "recvmsg4": 19, "recvmsg6": 20, "getpeername4": 29,
    "getpeername6": 30,
}  # fmt: skip
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)


def reason_against() -> str:
    """Why this machine cannot have such programs at all; "" when it may be tried."""
    if platform.machine() not in _NUMBERS or sys.byteorder != "little":
        return f"the programs are not built for {platform.machine()}"
    if not _libc.syscall(_numbers()[1], _MEMBARRIER_QUERY, None, 0) & _MEMBARRIER_GLOBAL:
        return "the kernel has no membarrier(2) that waits for programs"
    return ""


def create_map(name: str, *, kind: str, key_bytes: int, value_bytes: int, entries: int, shared: bool) -> int:
    """Makes a map; its descriptor."""
    flags = _NO_PREALLOC if kind == "hash" else _MMAPABLE if shared else 0
    head = struct.pack("=IIIII", _KINDS[kind], key_bytes, value_bytes, entries, flags)
    return _bpf(_MAP_CREATE, head + struct.pack("=II16s", 0, 0, f"fl_{name}"[:15].encode()))


def load_program(name: str, instructions: bytes, *, licence: str = "Apache-2.0") -> int:
    """Verifies and loads a program of that attach type; its descriptor."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    text = ctypes.create_string_buffer(licence.encode())
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        _CGROUP_SOCK_ADDR, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(text), 0, 0, 0, 0, 0,
        f"fl_{name}"[:15].encode(), 0, ATTACH[name],
    )  # fmt: skip
    return _bpf(_PROG_LOAD, attributes)


def attach(program: int, *, cgroup: int, name: str) -> int:
    """Attaches it to the cgroup and all below, beside what others attached; it ends with the last descriptor."""
    return _bpf(_LINK_CREATE, struct.pack("=IIII", program, cgroup, ATTACH[name], 0))


def attached(cgroup: int, name: str) -> list[int]:
    """The numbers of the programs of that kind that are attached to the cgroup, ours or not."""
    numbers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    asked = struct.pack("=IIIIQI", cgroup, ATTACH[name], 0, 0, ctypes.addressof(numbers), _MOST_PROGRAMS)
    buffer = ctypes.create_string_buffer(asked, _ATTRIBUTES_BYTES)
    _bpf(_PROG_QUERY, buffer)
    return list(numbers[: struct.unpack_from("=I", buffer, 24)[0]])


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Adds or replaces an element."""
    held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE, struct.pack("=IIQQQ", descriptor, 0, ctypes.addressof(held[0]), ctypes.addressof(held[1]), 0))


def delete(descriptor: int, key: bytes) -> None:
    """Removes an element. Raises FileNotFoundError."""
    held = ctypes.create_string_buffer(key, len(key))
    _bpf(_MAP_DELETE, struct.pack("=IIQ", descriptor, 0, ctypes.addressof(held)))


def wait_for_programs() -> None:
    """Returns when every program that runs now has ended: they run between rcu_read_lock and _unlock, and this is the
    kernel's synchronize_rcu (membarrier(2), MEMBARRIER_CMD_GLOBAL). Blocking, some 10 ms."""
    if _libc.syscall(_numbers()[1], _MEMBARRIER_GLOBAL, None, 0) < 0:
        raise _error()


def _numbers() -> Sequence[int]:
    return _NUMBERS[platform.machine()]


def _bpf(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    if isinstance(attributes, bytes):
        attributes = ctypes.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    result = int(_libc.syscall(_numbers()[0], command, attributes, len(attributes)))
    if result < 0:
        raise _error()
    return result


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
