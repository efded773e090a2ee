"""The table of `fairlead lb`: rates, quantiles, and why an endpoint is out."""

from typing import Any

from fairlead.cli import lbstats


def endpoint(**fields: Any) -> dict[str, Any]:
    codes = {"none": 0, "2xx": 0, "5xx": 0}
    latency: dict[str, Any] = {"buckets": []}
    return {
        "state": "ready",
        "requests": 0,
        "in_flight": 0,
        "codes": codes,
        "latency": latency,
        "connect_failures": 0,
    } | fields


def test_a_row_has_what_happened_since_the_last_one() -> None:
    def snapshot(**fields: Any) -> dict[str, Any]:
        return {"backends": {"b": {"endpoints": {"10.0.0.1:80": endpoint(**fields)}}}}

    before = snapshot(requests=10, latency={"buckets": [[1024, 10]]})
    now = snapshot(requests=30, in_flight=2, connect_failures=3, latency={"buckets": [[1024, 20], [65536, 10]]})
    assert lbstats.rows(before, now) == [("b", "10.0.0.1:80", "ready", "20", "2", "0", "3", "1.02", "65.54")]


def test_one_that_is_out_says_why_and_for_how_long() -> None:
    last = {"reason": "errors in a row", "at": 100.0, "until": 130.0}
    out = endpoint(state="ejected", ejections={"count": {"errors": 2, "health-check": 1}, "last": last})
    assert lbstats.state(out, now_seconds=118.0) == "ejected: errors in a row, 12 s left (3 times so far)"
    sick = endpoint(
        state="unhealthy",
        ejections={"count": {"health-check": 1}, "last": {"reason": "health check: status 503", "at": 1.0}},
    )
    assert lbstats.state(sick) == "unhealthy: health check: status 503"
    assert lbstats.state(endpoint(ejections={"count": {"errors": 2}, "last": last})) == "ready"
    assert lbstats.state(endpoint()) == "ready"


def test_one_that_refuses_connections_says_so_although_nothing_has_thrown_it_out() -> None:
    refusing = endpoint(connect_failures=9, connect_trouble={"in_a_row": 7, "reason": "Connection refused"})
    assert lbstats.state(refusing) == "ready, but no connection: Connection refused (7 in a row)"
    assert lbstats.state(refusing | {"state": "draining"}) == "draining"
    assert lbstats.state(endpoint(connect_failures=9, connect_trouble=None)) == "ready"
