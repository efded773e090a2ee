"""A thread of ours gives way to those that wake up, and what it starts does not."""

import ctypes
import platform
import struct
import threading

import pytest

from fairlead.base import slices

GETATTR = {"x86_64": 315, "aarch64": 275, "riscv64": 275}


def slice_seconds(pid: int = 0) -> float:
    """sched_getattr(2)'s runtime: 0 where the kernel has no slices of a thread's own."""
    found = ctypes.create_string_buffer(56)
    assert ctypes.CDLL(None).syscall(GETATTR[platform.machine()], pid, found, 56, 0) == 0
    return struct.unpack_from("=Q", found.raw, 24)[0] / 1e9


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_long_slice_is_the_threads_own_and_not_inherited():
    if not slice_seconds():
        pytest.skip("this kernel has no slices of a thread's own")
    ordinary, seen = slice_seconds(), []

    def work():
        seen.append(slices.long())
        seen.append(slice_seconds())
        in_a_thread(lambda: seen.append(slice_seconds()))

    in_a_thread(work)
    assert seen == [True, slices.SECONDS, ordinary]
    assert slice_seconds() == ordinary


def test_a_machine_that_is_not_known_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "m68k")
    assert slices.long() is False
