"""Finding a container engine."""

import os

import engines as test_engines
import pytest

from fairlead.base import clock
from fairlead.node import engines, processes


def inner(folder):
    return processes.ProcessRuntime(processes.ProcessSettings(folder, ("false",)))


async def find(folder, environ, forced="auto"):
    return await engines.find(environ, inner(folder), timer=clock.SystemClock(), folder=folder, forced=forced)


async def test_nothing_is_found_where_nothing_is(tmp_path):
    assert (await find(tmp_path, {}, "process")).runtime is None
    assert "Docker's socket is not here" in (await find(tmp_path, {}, "docker")).reason


async def test_a_socket_that_does_not_answer_is_no_engine_and_the_reason_says_so(tmp_path):
    found = await find(tmp_path, {}, str(tmp_path / "none.sock"))
    assert found.runtime is None
    assert "none.sock" in found.reason


@pytest.mark.skipif(bool(test_engines.missing()), reason=test_engines.missing() or "-")
async def test_podman_is_found_by_its_socket(tmp_path):
    with test_engines.service() as path:
        assert os.stat(path)
        found = await find(tmp_path, {"CONTAINER_HOST": f"unix://{path}"})
        assert found.runtime is not None
        assert found.reason.startswith("Podman ")
        found = await find(tmp_path, {"DOCKER_HOST": f"unix://{path}"}, "docker")
        assert found.runtime is not None
        assert found.reason.startswith("Docker ")
