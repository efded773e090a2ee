"""Threads and the loop give the interpreter to each other sooner than by default."""

import sys

from fairlead.base import handover


def test_it_changes_hands_ten_times_sooner_than_by_default() -> None:
    before = sys.getswitchinterval()
    try:
        handover.quick()
        assert sys.getswitchinterval() <= 0.1 * 0.005
    finally:
        sys.setswitchinterval(before)
