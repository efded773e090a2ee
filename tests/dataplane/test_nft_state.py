"""The kernel's table as typed changes: small for small changes, and with the meaning of the reference interpreter."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.dataplane import nft_rules, nft_state
from fairlead.routing import interpret, table
from fairlead.testing import nft_fake

NODE = interpret.Node(addresses=("192.0.2.1",), pod_networks=("10.244.0.0/16",), service_networks=("10.96.0.0/16",))
A, B, C = ("10.244.0.1", 80), ("10.244.0.2", 80), ("10.244.0.3", 80)


def state():
    return nft_state.State(nft_state.Site(NODE.pod_networks)), nft_fake.FakeKernel(NODE)


def service(*virtual, name="web", **fields):
    return table.Backend(
        id=name, protocol="tcp", virtual=virtual or (table.Virtual(address="10.96.0.1", port=80),), **fields
    )


def of(*backends):
    return table.Structure(backends={one.id: one for one in backends})


def endpoints(*places, name="web"):
    return [table.BackendEndpoints(backend=name, endpoints=tuple(table.Endpoint(address=a, port=p) for a, p in places))]


def test_who_stays_keeps_his_slot():
    assert nft_state.assign([A, B], [A, C]) == [A, C]
    assert nft_state.assign([A, B, C], [B, C]) == [C, B]
    assert nft_state.assign([A], [A, B, C]) == [A, B, C]
    assert nft_state.assign([A, B], []) == []


def test_a_replaced_endpoint_rewrites_no_rule():
    one, _ = state()
    one.want_structure(of(service()))
    one.want_endpoints(endpoints(A, B))
    one.take()
    one.want_endpoints(endpoints(A, C))
    change = one.take()
    assert not change.rewritten
    assert len(change.added) == 2  # the slot, and the client that is its own endpoint
    assert change.left[0][1] == B


def test_a_changed_count_rewrites_one_rule():
    one, _ = state()
    one.want_structure(of(service()))
    one.want_endpoints(endpoints(A, B))
    one.take()
    one.want_endpoints(endpoints(A, B, C))
    assert list(one.take().rewritten) == ["b1"]


def test_an_address_that_is_given_up_goes_to_who_wanted_it():
    one, kernel = state()
    one.want_structure(of(service(name="a"), service(name="b")))
    one.want_endpoints([*endpoints(A, name="a"), *endpoints(B, name="b")])
    kernel.commit(one.take())
    assert [nack.object for nack in one.nacks] == ["backend/b"]
    one.want_structure(of(service(name="b")))
    while one.dirty:
        kernel.commit(one.take())
    assert one.nacks == ()
    assert [e.address for e in kernel.answer("10.244.0.9", "tcp", "10.96.0.1", 80).endpoints] == [B[0]]


def test_too_many_endpoints_are_told():
    one, _ = state()
    one.want_structure(of(service()))
    many = [(f"10.244.{n // 250}.{n % 250}", 80) for n in range(nft_rules.SLOTS + 1)]
    one.want_endpoints(endpoints(*many))
    one.take()
    assert "16384 of 16385" in one.nacks[0].message


PLACES = st.lists(st.sampled_from([A, B, C]), unique=True)
ADDRESS = st.sampled_from(["10.96.0.1", "10.96.0.2", "10.96.0.3"])


@st.composite
def structures(draw):
    made, taken = [], set()
    for name in draw(st.lists(st.sampled_from(["x", "y", "z"]), unique=True)):
        address = draw(ADDRESS)
        if address in taken:
            continue
        taken.add(address)
        port = 30000 + len(taken)
        virtual = [table.Virtual(address=address, port=80)]
        near = table.Virtual(address="", port=port, node_port=True, external=True)
        if draw(st.booleans()):
            virtual.append(near)
            made.append(service(*virtual, name=name, algorithm=draw(st.sampled_from(["", "random", "ip-hash"]))))
        else:
            made.append(service(*virtual, name=name))
            local = table.Virtual(address="", port=port, node_port=True, external=True, cluster=name)
            made.append(service(local, name=name + "/local", affinity=draw(st.sampled_from([None, table.Affinity()]))))
    return msgspec.structs.replace(of(*made), shut=draw(st.sampled_from(["", "outside", "all"])))


STEPS = st.lists(
    st.tuples(structures(), st.dictionaries(st.sampled_from(["x", "y", "z", "x/local", "y/local"]), PLACES))
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_changes_the_kernel_means_what_the_table_means(steps):
    one, kernel = state()
    known, before = {}, {}
    for structure, sets in steps:
        for name, places in sets.items():
            delta = endpoints(*places, name=name)
            one.want_endpoints(delta)
            known[name] = delta[0].endpoints
        one.want_structure(structure)
        for name in (
            before.keys() - structure.backends.keys()
        ):  # endpoints may come before their Backend, not stay after
            known.pop(name, None)
        before = structure.backends
        while one.dirty:
            kernel.commit(one.take())
        asked = [("10.96.0.1", 80), ("10.96.0.2", 80), ("10.96.0.3", 81), ("192.0.2.1", 30001), ("192.0.2.1", 30002)]
        for source in ("10.244.9.9", "192.0.2.1", "198.51.100.1"):
            for address, port in asked:
                expected = interpret.packet(
                    structure, known, source=source, protocol="tcp", address=address, port=port, node=NODE
                )
                found = kernel.answer(source, "tcp", address, port)
                assert found.verdict == expected.verdict
                assert {e.address for e in found.endpoints} == {e.address for e in expected.endpoints}
                assert found.masquerade == expected.masquerade
