"""Repairs of rules are told as Events on the Node, not more often than somebody can read them."""

from __future__ import annotations

from typing import Any

from fairlead.cluster import repairs
from fairlead.testing import clock


class Told:
    """What was recorded."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def event(self, obj: dict[str, Any], type: str, reason: str, message: str) -> None:
        assert (obj["kind"], obj["metadata"]["name"], type, reason) == ("Node", "here", "Warning", "RulesRepaired")
        self.messages.append(message)


async def test_each_repair_is_told_and_of_many_how_many() -> None:
    now, told = clock.FakeClock(), Told()
    made = repairs.Repairs(now)
    made.tell_by(told, "here")
    made.note("the table is gone")
    assert [one.partition("; ")[0] for one in told.messages] == [
        "Somebody changed the rules of the cluster's Services (the table is gone)"
    ]
    for _ in range(9):
        await now.advance(1.0)
        made.note("rules are gone")
    assert len(told.messages) == 1
    await now.advance(1.0)
    made.note("rules are gone")
    assert len(told.messages) == 2 and told.messages[1].endswith("; 9 more times since this was told last")
    await now.advance(10.0)
    made.note("chains are gone")
    assert "more times" not in told.messages[2]


def test_what_was_repaired_before_anybody_listened_is_counted() -> None:
    now, told = clock.FakeClock(), Told()
    made = repairs.Repairs(now)
    made.note("the table is gone")
    made.tell_by(told, "here")
    made.note("the table is gone")
    assert "; 1 more times" in told.messages[0]
