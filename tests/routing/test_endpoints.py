"""Which endpoints are chosen: the cases of Kubernetes' `TestCategorizeEndpoints`, by their meaning."""

import pytest

from fairlead.routing import endpoints

HERE = endpoints.Here(node="node-1", zone="zone-a")


def entry(address, *, ready=True, serving=None, terminating=False, node="", zones=(), nodes=()):
    one = {"addresses": [address], "conditions": {"ready": ready, "serving": serving, "terminating": terminating}}
    one["nodeName"] = node
    hints = {}
    if zones:
        hints["forZones"] = [{"name": zone} for zone in zones]
    if nodes:
        hints["forNodes"] = [{"name": name} for name in nodes]
    return {**one, "hints": hints} if hints else one


def chosen(entries, *, here=HERE, **policy):
    source = endpoints.Source("b", "default/web", **policy)
    slices = [{"addressType": "IPv4", "ports": [{"port": 80, "protocol": "TCP"}], "endpoints": entries}]
    choice = endpoints.choose(source, slices, here=here)
    return {one.address for one in endpoints.serving(choice.endpoints)}


A, B = "10.0.0.1", "10.0.0.2"
CASES = {
    "all ready": ([entry(A), entry(B)], {}, {A, B}),
    "ready is unset": ([{"addresses": [A]}], {}, {A}),
    "an unready one is left out": ([entry(A), entry(B, ready=False)], {}, {A}),
    "none ready, one terminating but serving": ([entry(A, ready=False, serving=True, terminating=True)], {}, {A}),
    "ready before terminating": ([entry(A), entry(B, ready=False, serving=True, terminating=True)], {}, {A}),
    "terminating and not serving": ([entry(A, ready=False, serving=False, terminating=True)], {}, set()),
    "unready but published": ([entry(A, ready=False)], {"publish_not_ready": True}, {A}),
    "local only": ([entry(A, node="node-1"), entry(B, node="node-2")], {"local_only": True}, {A}),
    "local only, none here": ([entry(B, node="node-2")], {"local_only": True}, set()),
    "local only, the local one terminates": (
        [entry(A, node="node-1", ready=False, serving=True, terminating=True), entry(B, node="node-2")],
        {"local_only": True},
        {A},
    ),
    "hints for this zone": ([entry(A, zones=["zone-a"]), entry(B, zones=["zone-b"])], {}, {A}),
    "hints missing on one endpoint": ([entry(A, zones=["zone-a"]), entry(B)], {}, {A, B}),
    "no hints for this zone": ([entry(A, zones=["zone-b"]), entry(B, zones=["zone-c"])], {}, {A, B}),
    "an unready one without hints": ([entry(A, zones=["zone-a"]), entry(B, ready=False)], {}, {A}),
    "hints for this node": ([entry(A, nodes=["node-1"]), entry(B, nodes=["node-2"])], {}, {A}),
    "hints are ignored under policy Local": (
        [entry(A, zones=["zone-b"], node="node-1"), entry(B, zones=["zone-a"], node="node-2")],
        {"local_only": True},
        {A},
    ),
    "another protocol": ([entry(A)], {"protocol": "UDP"}, set()),
    "another port name": ([entry(A)], {"port": "metrics"}, set()),
    "another family": ([entry(A)], {"family": "IPv6"}, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_choice(name):
    entries, policy, expected = CASES[name]
    assert chosen(entries, **policy) == expected


def test_an_address_in_two_slices_is_one_endpoint():
    source = endpoints.Source("b", "default/web")
    one = {"addressType": "IPv4", "ports": [{"port": 80}]}
    slices = [{**one, "endpoints": [entry(A, ready=False)]}, {**one, "endpoints": [entry(A)]}]
    assert [e.state for e in endpoints.choose(source, slices, here=HERE).endpoints] == ["ready"]


def test_a_named_port_that_differs_between_pods_is_a_slice_each():
    source = endpoints.Source("b", "default/web", port="http")
    slices = [
        {"addressType": "IPv4", "ports": [{"name": "http", "port": port}], "endpoints": [entry(address)]}
        for port, address in ((80, A), (8080, B))
    ]
    found = endpoints.choose(source, slices, here=HERE).endpoints
    assert [(e.address, e.port) for e in found] == [(A, 80), (B, 8080)]


def test_who_was_left_out_is_told_why():
    source = endpoints.Source("b", "default/web", local_only=True)
    slices = [
        {
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [entry(B, node="node-2"), entry(A, ready=False, node="node-1")],
        }
    ]
    reasons = {one.address: one.reason for one in endpoints.choose(source, slices, here=HERE).left_out}
    assert reasons == {B: "traffic policy Local, and it is on node node-2", A: "not ready"}
