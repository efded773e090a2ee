"""What pods use: rates over a window, by pod."""

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
