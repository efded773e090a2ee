"""`fairlead.dev/idle-seconds` makes requests wait at an empty Service, where requests can wait."""

import pytest

from fairlead.routing import policy


def test_it_holds() -> None:
    fields, problems = policy.parse({"fairlead.dev/idle-seconds": "300"}, obj="Service/default/web")
    assert (fields, problems) == ({"hold": True}, [])


@pytest.mark.parametrize("text", ["", "soon", "0", "-1"])
def test_what_is_no_time_is_a_problem(text: str) -> None:
    fields, problems = policy.parse({"fairlead.dev/idle-seconds": text}, obj="Service/default/web")
    assert "hold" not in fields and len(problems) == 1
