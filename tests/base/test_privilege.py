"""Who we really are is known again after we have gone into a user namespace of our own."""

import os
import subprocess
import sys

import pytest

_PROOF = """
import ctypes, os
from fairlead.base import privilege
before = (privilege.in_own_namespace(), privilege.real_uid())
uid = os.geteuid()
if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
    raise SystemExit(77)
privilege.in_own_namespace()  # the map is not written yet
with open("/proc/self/uid_map", "w") as file:
    file.write(f"0 {uid} 1")
assert before == (False, uid), before
assert (privilege.in_own_namespace(), privilege.real_uid()) == (True, uid)
"""


def test_a_namespace_of_our_own_is_noticed_when_we_enter_it() -> None:
    done = subprocess.run([sys.executable, "-c", _PROOF], env=dict(os.environ), capture_output=True, check=False)
    if done.returncode == 77:
        pytest.skip("no user namespace may be made here")
    assert done.returncode == 0, done.stderr.decode()
