"""What is balanced at connect time, and what a change of the table changes in the maps."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dataplane.connect_time import books, layout
from fairlead.routing import table
from fairlead.testing.kernel import WEB, backend, structure

KEY = layout.place("10.96.0.10", 80, layout.TCP)


class Kernel:
    """The maps as the programs read them. Refuses what a program could catch half done."""

    def __init__(self):
        self.heads, self.services, self.endpoints = {}, {}, {}
        self.readable = set()  # what a program that began before `settle` may still read

    def commit(self, change):
        for first, block in change.blocks:
            for at in range(0, len(block), layout.ENDPOINT_BYTES):
                slot = first + at // layout.ENDPOINT_BYTES
                assert slot not in self.readable, "a block that programs may read is written"
                self.endpoints[slot] = block[at : at + layout.ENDPOINT_BYTES]
        for number, head in change.heads.items():
            self.readable |= set(self._slots(number))
            self.heads[number] = head
            self.readable |= set(self._slots(number))
        for key, number in change.added.items():
            assert key not in self.services
            self.services[key] = number
        for key in change.gone:
            del self.services[key]

    def settle(self):
        self.readable = {slot for number in self.heads for slot in self._slots(number)}

    def _slots(self, number):
        head = self.heads.get(number, 0)
        return range(head & 0xFFFFFFFF, (head & 0xFFFFFFFF) + (head >> 32 & 0x7FFFFFFF))

    def answer(self, key):
        """The endpoints in their order, and whether one is taken at random; None: nftables carries it."""
        slots = self._slots(self.services[key]) if key in self.services else ()
        found = [self.endpoints[slot] for slot in slots]
        return (found, self.heads[self.services[key]] >> 63 == 1) if found else None


class Both:
    def __init__(self, **room):
        self.books, self.kernel = books.Books(**room), Kernel()

    def carry(self, made, *delta):
        self.books.want_structure(made)
        self.books.want_endpoints(delta)
        self.write()

    def write(self, limit=1):
        while self.books.dirty:
            while self.books.dirty:
                change = books.Change()
                self.books.take_into(change, limit=limit)
                self.kernel.commit(change)
            self.books.settle()
            self.kernel.settle()


@pytest.fixture
def both():
    return Both()


def places(*addresses, name=WEB, state="ready"):
    made = tuple(table.Endpoint(address=address, port=8080, state=state) for address in addresses)
    return table.BackendEndpoints(backend=name, endpoints=made)


def packed(*addresses):
    return [layout.endpoint(address, 8080) for address in addresses]


def test_a_service_in_turn(both):
    both.carry(structure(backend()), places("10.244.0.2", "10.244.0.3"))
    assert both.kernel.answer(KEY) == (packed("10.244.0.2", "10.244.0.3"), False)


def test_a_service_of_datagrams(both):
    both.carry(structure(backend(protocol="udp")), places("10.244.0.2"))
    assert both.kernel.answer(KEY) is None
    assert both.kernel.answer(layout.place("10.96.0.10", 80, layout.UDP)) == (packed("10.244.0.2"), False)


def test_a_service_at_random(both):
    both.carry(structure(backend(algorithm="random")), places("10.244.0.2"))
    assert both.kernel.answer(KEY) == (packed("10.244.0.2"), True)


@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "h2c"},
        {"algorithm": "least-request"},
        {"algorithm": "ip-hash"},
        {"affinity": table.Affinity()},
        {"hold": True},
        {"virtual": (table.Virtual(address="10.96.0.10", port=80, external=True),)},
        {"virtual": (table.Virtual(address="", port=80, node_port=True),)},
        {"virtual": (table.Virtual(address="10.96.0.10", port=80, sources=("10.0.0.0/8",)),)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_nftables_keeps(both, fields):
    both.carry(structure(backend(**fields)), places("10.244.0.2"))
    assert both.kernel.answer(KEY) is None
    assert len(both.books) == 0


def test_without_a_serving_endpoint_nftables_answers(both):
    both.carry(structure(backend()), places("10.244.0.2"))
    both.carry(structure(backend()), places())
    assert both.kernel.answer(KEY) is None


def test_draining_endpoints_are_used_only_when_no_other_is_left(both):
    mixed = places("10.244.0.2").endpoints + places("10.244.0.3", state="draining").endpoints
    both.carry(structure(backend()), table.BackendEndpoints(backend=WEB, endpoints=mixed))
    assert both.kernel.answer(KEY) == (packed("10.244.0.2"), False)
    both.carry(structure(backend()), places("10.244.0.3", state="draining"))
    assert both.kernel.answer(KEY) == (packed("10.244.0.3"), False)


def test_who_stays_keeps_his_turn(both):
    both.carry(structure(backend()), places("10.244.0.2", "10.244.0.3", "10.244.0.4"))
    both.carry(structure(backend()), places("10.244.0.2", "10.244.0.4", "10.244.0.5"))
    assert both.kernel.answer(KEY)[0] == packed("10.244.0.2", "10.244.0.5", "10.244.0.4")


def test_ipv6_and_ipv4_endpoints_are_for_their_own_family(both):
    both.carry(structure(backend(address="fd00:96::10")), places("10.244.0.2", "fd00:244::2"))
    key = layout.place("fd00:96::10", 80, layout.TCP)
    assert both.kernel.answer(key) == (packed("fd00:244::2"), False)


def test_an_address_that_two_want_is_nobodys_here_until_one_is_left(both):
    one, other = backend(), backend("z/other:80")
    sets = places("10.244.0.2"), places("10.244.0.3", name="z/other:80")
    both.carry(structure(one), *sets)
    both.carry(structure(one, other), *sets)
    assert both.kernel.answer(KEY) is None
    both.carry(structure(other))
    assert both.kernel.answer(KEY) == (packed("10.244.0.3"), False)


def test_what_there_is_no_room_for_waits_until_there_is():
    both = Both(backends=4, places=2)
    other = backend("z/other:80", address="10.96.0.11")
    key = layout.place("10.96.0.11", 80, layout.TCP)
    both.carry(structure(backend()), places("10.244.0.2", "10.244.0.3"))
    both.carry(structure(backend(), other), places("10.244.0.4", name="z/other:80"))
    assert both.kernel.answer(key) is None
    assert both.books.left_out == {"z/other:80"}
    both.carry(structure(other))
    assert both.kernel.answer(key) == (packed("10.244.0.4"), False)


NAMES = ("a", "b", "c")
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(("10.96.0.1", "10.96.0.2", "")),
        st.lists(st.integers(2, 9), unique=True, max_size=5),
        st.sampled_from(("", "random", "least-request")),
        st.integers(1, 3),
    ),
    max_size=20,
)


@given(CHANGES)
def test_after_any_changes_the_maps_say_what_the_table_says(changes):
    both = Both()
    wanted = {}
    for name, address, numbers, algorithm, limit in changes:
        wanted.pop(name, None)
        if address:
            wanted[name] = (backend(name, address=address, algorithm=algorithm), numbers)
        both.books.want_structure(structure(*(one for one, _ in wanted.values())))
        both.books.want_endpoints([places(*(f"10.244.0.{number}" for number in numbers), name=name)])
        both.write(limit)
        for address in ("10.96.0.1", "10.96.0.2"):
            owners = [
                (one, there)
                for one, there in wanted.values()
                if one.virtual[0].address == address and one.algorithm != "least-request"
            ]
            found = both.kernel.answer(layout.place(address, 80, layout.TCP))
            if len(owners) != 1 or not owners[0][1]:
                assert found is None
                continue
            (one, there) = owners[0]
            assert sorted(found[0]) == sorted(packed(*(f"10.244.0.{number}" for number in there)))
            assert found[1] == (one.algorithm == "random")
    assert len(set(itertools.chain.from_iterable(both.kernel._slots(n) for n in both.kernel.heads))) == sum(
        len(both.kernel._slots(n)) for n in both.kernel.heads
    )
