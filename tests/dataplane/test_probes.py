"""Probes that the engine runs for the node agent."""

from types import SimpleNamespace

from fairlead.routing import table

PROBE = {
    "id": "pod/c/readiness", "kind": "http", "address": "10.0.0.1", "port": 80, "path": "/", "scheme": "http",
    "headers": (), "service": "", "initial_delay_seconds": 0.0, "period_seconds": 10.0, "timeout_seconds": 1.0,
    "success_threshold": 1, "failure_threshold": 3, "fast_start": True,
}  # fmt: skip


async def test_results_reach_who_asked(peer, plane):
    results = []
    plane.watch(SimpleNamespace(**PROBE), lambda ok, message: results.append((ok, message)))
    await peer.until(lambda: peer.probes)
    assert peer.probes[PROBE["id"]]["period_seconds"] == 10.0
    peer.say({"type": "probe", "id": PROBE["id"], "ok": True, "message": "200", "at": 1.0})
    peer.say({"type": "probe", "id": "another", "ok": False, "message": "500", "at": 1.0})
    await plane.acked(await plane.apply(table.Structure(backends={"b": table.Backend(id="b")})))  # a round trip
    plane.forget(PROBE["id"])
    await peer.until(lambda: not peer.probes)
    assert results == [(True, "200")]


async def test_a_new_engine_is_given_the_probes(peer, plane):
    plane.watch(SimpleNamespace(**PROBE), lambda ok, message: None)
    await peer.until(lambda: peer.probes)
    peer.restart()
    await peer.until(lambda: list(peer.probes) == [PROBE["id"]])


async def test_forgetting_an_unknown_probe_is_nothing(peer, plane):
    plane.forget("unknown")
