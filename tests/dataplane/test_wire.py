"""The protocol's messages as files for both sides (docs/protocol.md): what we say is written there byte for byte."""

import json
import pathlib

import msgspec
import pytest

from fairlead.dataplane import wire
from fairlead.routing import table

FOLDER = pathlib.Path(__file__).parent.parent / "golden" / "protocol"
ENDPOINTS = (
    table.Endpoint(address="10.244.0.2", port=8080, name="default/web-1"),
    table.Endpoint(address="10.244.0.3", port=8080, weight=2, zone="a", node="n1", state="draining"),
)
BACKEND = table.Backend(
    id="default/web:http/http",
    algorithm="maglev",
    hash_on="header:X-User",
    affinity=table.Affinity(kind="cookie", cookie="sticky"),
    health=table.ActiveHealth(path="/ready"),
    outlier=table.Outlier(),
    slow_start_seconds=30.0,
    retry=table.Retry(),
    timeouts=table.Timeouts(request_seconds=30.0),
    limits=table.Limits(endpoint_connections=100),
    zone="a",
    node="n1",
    spill_factor=4.0,
    load_bound=1.25,
    virtual=(table.Virtual(address="10.96.0.10", port=80),),
    info=table.Info(object="Service/default/web", rule="spec.ports[http]"),
)
ROUTE = table.Route(
    id="Ingress/default/web/0/0",
    listeners=("edge-http",),
    hosts=("*.example.com",),
    match=table.Match(path=table.PathMatch(type="prefix", value="/api"), method="GET"),
    order=3,
    backends=(table.WeightedBackend(backend=BACKEND.id, weight=9),),
    info=table.Info(object="Ingress/default/web", rule="spec.rules[0].http.paths[0]"),
)
LISTENER = table.Listener(
    id="edge-http", protocol="http", sockets=("tcp:127.0.0.1:8080", "tcp:[::1]:8080"), http=table.HttpSettings()
)


def raw(thing):
    return msgspec.Raw(wire.encode_object(thing))


PROBE = wire.Probe(
    id="uid/app/readiness", kind="http", address="10.244.0.2", port=8080, path="/ready", scheme="http",
    headers=(("x-probe", "1"),), service="", initial_delay_seconds=0.0, period_seconds=10.0, timeout_seconds=1.0,
    success_threshold=1, failure_threshold=3, fast_start=True,
)  # fmt: skip
REQUESTS = {
    "hello": wire.Hello(version=1),
    "sockets": wire.Sockets(
        sockets=(wire.SocketName(id="udp:[::1]:53", family="ipv6", transport="udp"),),
    ),
    "structure": wire.StructureChange(
        epoch=1700000000000,
        seq=2,
        listeners=(raw(LISTENER),),
        routes=(raw(ROUTE),),
        backends=(raw(BACKEND),),
        names=(
            raw(table.Name(id="service/default/web", name="web.default.svc.cluster.local", values=("10.96.0.10",))),
        ),
        removed={"backends": ["default/old:80"]},
    ),
    "endpoints": wire.EndpointsChange(
        epoch=1700000000000, seq=1, backends=(wire.EndpointSet(backend=BACKEND.id, endpoints=raw(ENDPOINTS)),)
    ),
    "probes": wire.ProbesChange(
        epoch=1700000000000, seq=3, full=True, set=(raw(PROBE),), removed=("uid/app/liveness",)
    ),
    "drain": wire.Drain(epoch=1700000000000, seq=4, id="drain-1", address="10.244.0.3"),
    "undrain": wire.Undrain(epoch=1700000000000, seq=5, id="drain-1"),
    "ping": wire.Ping(id=7),
    "shutdown": wire.Shutdown(grace_seconds=5.0),
    "upgrade": wire.Upgrade(path="/usr/bin/fairlead-engine"),
}
EVENTS = {
    "welcome": wire.Welcome(
        version=1, engine_version="0.1.0", master_pid=10, worker_pid=11, epoch=1700000000000, seq=5,
        hashes={"endpoints": {BACKEND.id: wire.hash_of(wire.encode_object(ENDPOINTS))}}, sockets=("udp:[::1]:53",),
    ),
    "ack": wire.Acked(
        epoch=1700000000000, seq=2,
        nacks=(wire.WireNack(object="backend/default/web:http/http", path="outlier", message="not carried yet"),),
    ),
    "error": wire.Refused(message="an older epoch", epoch=1, seq=2),
    "drained": wire.Drained(id="drain-1", address="10.244.0.3", in_flight=0),
    "probe": wire.ProbeResult(id="uid/app/readiness", ok=True, message="200", at=1700000000.5),
    "endpoint": wire.EndpointState(
        backend=BACKEND.id, address="10.244.0.2", port=8080, state="ejected", reason="5 errors in a row"
    ),
    "demand": wire.Demand(backend=BACKEND.id, waiting=3),
    "worker": wire.Worker(pid=12, restarts=1, reason="signal 9"),
    "pong": wire.Pong(id=7),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_what_we_say(name):
    frame = wire.encode(REQUESTS[name])
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:] == (FOLDER / f"{name}.json").read_bytes().rstrip(b"\n")


@pytest.mark.parametrize("name", EVENTS)
def test_what_we_understand(name):
    told = (FOLDER / f"{name}.event.json").read_bytes()
    assert wire.decode_event(told) == EVENTS[name]
    more = {**json.loads(told), "added-later": {"x": 1}}
    assert wire.decode_event(json.dumps(more).encode()) == EVENTS[name]


def test_frames_come_in_any_pieces():
    stream = b"".join(wire.encode(one) for one in REQUESTS.values())
    for size in (1, 3, 1000):
        frames, bodies = wire.Frames(), []
        for start in range(0, len(stream), size):
            bodies += frames.feed(stream[start : start + size])
        assert [json.loads(body)["type"] for body in bodies] == list(REQUESTS)


def test_a_frame_over_the_limit_ends_the_conversation():
    with pytest.raises(wire.WireError):
        wire.Frames().feed((wire.MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_an_unknown_event_ends_the_conversation():
    with pytest.raises(wire.WireError):
        wire.decode_event(b'{"type":"gossip"}')
