"""The pytest plugin: fixtures for tests that use fairlead's fakes. They cost nothing until a test asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fairlead.testing import apiserver, clock


@pytest.fixture
def fairlead_clock() -> clock.FakeClock:
    """A clock that the test moves."""
    from fairlead.testing import clock

    return clock.FakeClock()


@pytest.fixture
def fairlead_fake_apiserver(fairlead_clock: clock.FakeClock) -> apiserver.FakeApiServer:
    """An API server in memory, without controllers."""
    from fairlead.testing import apiserver

    return apiserver.FakeApiServer(clock=fairlead_clock)
