"""What pods use: rates over a window, by pod."""

import asyncio
import os

import pytest

from fairlead.node import usage
from fairlead.testing import clock


def sampled(pods, times):
    made = usage.PodUsage(dict, timer=clock.FakeClock())
    for at in times:
        made.add({("default", name, "app"): usage.Sample(at, 7, at * cores, 1000) for name, cores in pods.items()})
    return made


def test_a_rate_is_over_the_window_of_samples_of_one_start():
    found = sampled({"one": 0.5, "two": 2.0}, range(10))
    assert found.usage("default", "one", window_seconds=5.0)["app"] == usage.Usage(0.5, 1000, 5.0, 9)
    assert found.usage("default", "two", window_seconds=5.0)["app"].cpu_cores == 2.0
    assert found.usage("other", "one") == {}
    found.add({("default", "one", "app"): usage.Sample(10.0, 8, 0.0, 1000)})
    assert found.usage("default", "one") == {}


def test_a_container_that_has_gone_is_forgotten_and_its_pod_with_the_last():
    found = sampled({"one": 1.0, "two": 1.0}, range(3))
    found.keep({("default", "two", "app")})
    assert found.usage("default", "one") == {}
    assert "app" in found.usage("default", "two")


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_changes_no_rate(seconds):
    """Set back by an hour, the CPU of some seconds was divided by a thousandth of one."""
    timer = clock.FakeClock()
    made = usage.PodUsage(lambda: {("default", "one", "app"): os.getpid()}, timer=timer)
    made.add({("default", "one", "app"): usage.Sample(timer.now() - 10, os.getpid(), 0.0, 1000)})
    running = asyncio.ensure_future(made.run())
    await took(made, 2)
    timer.jump(seconds)
    await timer.advance(1.0)
    await took(made, 3)
    running.cancel()
    found = made.usage("default", "one", window_seconds=60.0)["app"]
    assert found.window_seconds == pytest.approx(11.0)
    assert found.at == timer.now()


async def took(made, count):
    """Returns when so many samples are there."""
    async with asyncio.timeout(5):
        while len(made._samples["default", "one", "app"]) < count:
            await asyncio.sleep(0.001)
