"""Traffic metrics come from the engine's counters, also when they change, vanish or begin anew."""

from typing import Any

import pytest

from fairlead.controllers.autoscaling import metrics, traffic_metrics

Object = dict[str, Any]
SERVICE = metrics.Subject("Service", "default", "web")
POD = metrics.Subject("Pod", "default", "web-1")
INGRESS = metrics.Subject("Ingress", "default", "front")


def endpoint(name: str, requests: int, *, in_flight: int = 0, connections: int = 0, buckets: Any = ()) -> Object:
    return {
        "name": f"default/{name}",
        "state": "ready",
        "in_flight": in_flight,
        "connections": connections,
        "requests": requests,
        "latency": {"buckets": [list(pair) for pair in buckets], "sum_us": 0},
    }


def document(one: Object, two: Object | None = None) -> Object:
    endpoints = {"10.0.0.1:80": one, **({"10.0.0.2:80": two} if two else {})}
    return {"backends": {"default/web:http/http": {"object": "Service/default/web", "endpoints": endpoints}}}


def value(found: traffic_metrics.TrafficMetrics, metric: str, of: metrics.Subject, window: float = 5) -> float | None:
    sample = found.reading(metric, of, window_seconds=window)
    return None if sample is None else sample.milli / 1000


def test_rates_are_differences_over_the_window() -> None:
    found = traffic_metrics.TrafficMetrics()
    for second in range(10):
        found.add(document(endpoint("web-1", second * 20), endpoint("web-2", second * 10)), 100.0 + second)
    assert value(found, "requests_per_second", SERVICE) == 30
    assert value(found, "requests_per_second", POD) == 20


def test_gauges_are_means() -> None:
    found = traffic_metrics.TrafficMetrics()
    for second, in_flight in enumerate((0, 2, 4)):
        found.add(document(endpoint("web-1", 0, in_flight=in_flight, connections=3)), 100.0 + second)
    assert value(found, "requests_in_flight", POD) == 2
    assert value(found, "requests_in_flight", POD, window=0) == 4
    assert value(found, "connections", POD) == 3


def test_only_what_changed_is_sent() -> None:
    found = traffic_metrics.TrafficMetrics()
    found.add(document(endpoint("web-1", 0), endpoint("web-2", 0)), 100)
    found.add({"backends": {"default/web:http/http": {"endpoints": {"10.0.0.1:80": {"requests": 8}}}}}, 101)
    found.add({}, 102)
    assert value(found, "requests_per_second", SERVICE) == 4
    found.add({"backends": {"default/web:http/http": {"endpoints": {"10.0.0.2:80": None}}}}, 103)
    assert found.reading("connections", metrics.Subject("Pod", "default", "web-2"), window_seconds=5) is None


def test_counters_that_begin_anew() -> None:
    found = traffic_metrics.TrafficMetrics()
    for at, requests in ((100, 1000), (101, 1010), (102, 5), (103, 15)):
        found.add(document(endpoint("web-1", requests)), float(at))
    assert value(found, "requests_per_second", POD) == pytest.approx(25 / 3, abs=0.001)


def test_latency_is_of_the_window_only() -> None:
    found = traffic_metrics.TrafficMetrics()
    found.add(document(endpoint("web-1", 100, buckets=[(1024, 100)])), 100)
    found.add(document(endpoint("web-1", 200, buckets=[(1024, 190), (65536, 10)])), 101)
    assert value(found, "request_latency_p95_seconds", POD) == pytest.approx(0.066, abs=0.001)
    assert value(found, "request_latency_p95_seconds", SERVICE) == pytest.approx(0.066, abs=0.001)


def test_ingresses_count_by_their_routes() -> None:
    found = traffic_metrics.TrafficMetrics()
    for second in range(3):
        routes = {
            f"ingress/default/front/0/{path}": {"object": "Ingress/default/front", "requests": second * 5}
            for path in range(2)
        }
        found.add({"routes": routes}, 100.0 + second)
    assert value(found, "requests_per_second", INGRESS) == 10


def test_nothing_known_is_none_and_no_traffic_is_zero() -> None:
    found = traffic_metrics.TrafficMetrics()
    assert value(found, "requests_in_flight", SERVICE) is None
    found.add({"backends": {"default/web:80": {"endpoints": {}}}}, 100)
    assert value(found, "requests_in_flight", SERVICE) == 0
    assert value(found, "requests_per_second", SERVICE) is None
    found.add({}, 101)
    assert value(found, "requests_per_second", SERVICE) == 0


def test_rings_are_short() -> None:
    found = traffic_metrics.TrafficMetrics()
    for second in range(500):
        found.add(document(endpoint("web-1", second)), float(second))
    assert len(found._rings[POD]) <= traffic_metrics.KEPT_SECONDS + 1


def test_connections_at_layer_4_count_as_requests_and_what_waits_is_known() -> None:
    found = traffic_metrics.TrafficMetrics()
    for second in range(3):
        carried = {"name": "default/web-1", "in_flight": 1, "carried": second * 4}
        found.add({"backends": {"default/web:80": {"waiting": second, "endpoints": {"10.0.0.1:80": carried}}}}, second)
    assert value(found, "requests_per_second", SERVICE) == 4
    assert value(found, "requests_waiting", SERVICE) == 2


def test_what_is_at_rest_keeps_one_point_and_time_passes_for_it() -> None:
    found = traffic_metrics.TrafficMetrics()
    routes = {f"r{n}": {"object": f"Ingress/default/i{n}", "requests": 7} for n in range(3)}
    found.add({"routes": routes}, 100.0)
    for second in range(1, 200):
        found.add({"routes": {"r0": {"requests": 7 + second * 2}}}, 100.0 + second)
    at_rest, busy = metrics.Subject("Ingress", "default", "i1"), metrics.Subject("Ingress", "default", "i0")
    assert len(found._rings[at_rest]) == 1
    assert value(found, "requests_per_second", at_rest) == 0
    assert value(found, "requests_per_second", busy) == 2
    sample = found.reading("requests_per_second", at_rest, window_seconds=5)
    assert sample is not None
    assert (sample.at, sample.window_seconds) == (299.0, 5.0)


def test_a_gauge_that_was_not_named_again_counts_in_each_sample() -> None:
    found = traffic_metrics.TrafficMetrics()
    found.add(document(endpoint("web-1", 0, in_flight=8)), 100.0)
    for second in (101.0, 102.0):
        found.add({}, second)
    found.add(document(endpoint("web-1", 0, in_flight=0)), 103.0)
    assert value(found, "requests_in_flight", POD) == 6


def test_a_new_engine_counts_from_zero_and_what_it_does_not_have_is_gone() -> None:
    found = traffic_metrics.TrafficMetrics()
    found.add(document(endpoint("web-1", 100), endpoint("web-2", 100)), 100.0)
    found.reset()
    found.add(document(endpoint("web-1", 4)), 102.0)
    assert value(found, "requests_per_second", POD) == 2
    assert found.reading("connections", metrics.Subject("Pod", "default", "web-2"), window_seconds=5) is None


def test_an_endpoint_that_becomes_another_pod_is_counted_for_that_one() -> None:
    found = traffic_metrics.TrafficMetrics()
    found.add(document(endpoint("web-1", 100)), 100.0)
    found.add(document(endpoint("web-9", 1)), 101.0)
    assert found.reading("connections", POD, window_seconds=5) is None
    assert value(found, "connections", metrics.Subject("Pod", "default", "web-9")) == 0


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_a_clock_that_is_set_changes_no_rate(seconds: float) -> None:
    found = traffic_metrics.TrafficMetrics()
    for second in range(10):
        found.add(document(endpoint("web-1", second * 20)), 100.0 + second)
    found.move(seconds)
    found.add(document(endpoint("web-1", 200)), 110.0 + seconds)
    assert value(found, "requests_per_second", POD) == 20
