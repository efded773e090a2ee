"""The check suite of `store.protocol.Store`: the scenarios of Kubernetes' own storage tests. Every store passes it.

Each scenario takes a fresh store and raises AssertionError where it does not do as the protocol says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fairlead.store import protocol

Scenario = Callable[[protocol.Store], Awaitable[None]]


def _value(text: str) -> protocol.Encode:
    return lambda revision: f"{text}@{revision}".encode()


async def create_and_get(store: protocol.Store) -> None:
    assert store.get("a/x/1") is None
    entry = await store.write("a/x/1", _value("one"), expected=0)
    assert entry.value == f"one@{entry.revision}".encode()
    assert store.get("a/x/1") == entry == store.head("a/x/1")
    assert entry.created == entry.revision == store.revision == store.changed("a")


async def create_twice_conflicts(store: protocol.Store) -> None:
    first = await store.write("a/1", _value("one"), expected=0)
    try:
        await store.write("a/1", _value("two"), expected=0)
    except protocol.Conflict as conflict:
        assert conflict.actual == first.revision
    else:
        raise AssertionError("a second creation must be refused")
    assert store.get("a/1") == first


async def update_expects_its_revision(store: protocol.Store) -> None:
    first = await store.write("a/1", _value("one"))
    second = await store.write("a/1", _value("two"), expected=first.revision)
    assert second.revision > first.revision and second.created == first.created
    for stale in (first.revision, second.revision + 7):
        try:
            await store.write("a/1", _value("three"), expected=stale)
        except protocol.Conflict:
            continue
        raise AssertionError("a stale expectation must be refused")


async def delete_expects_and_removes(store: protocol.Store) -> None:
    first = await store.write("a/1", _value("one"))
    for key, expected in (("a/1", first.revision + 1), ("a/none", None)):
        try:
            await store.delete(key, _value("gone"), expected=expected)
        except protocol.Conflict:
            continue
        raise AssertionError("deletion of what is not there must be refused")
    last = await store.delete("a/1", _value("gone"), expected=first.revision)
    assert store.get("a/1") is None and last.revision > first.revision
    again = await store.write("a/1", _value("new"), expected=0)
    assert again.created == again.revision


async def a_failing_encoder_writes_nothing(store: protocol.Store) -> None:
    def broken(revision: int) -> bytes:
        raise ValueError("no")

    before = store.revision
    try:
        await store.write("a/1", broken)
    except ValueError:
        pass
    else:
        raise AssertionError("the encoder's error must reach the writer")
    entry = await store.write("a/1", _value("one"))
    assert entry.revision == before + 1


async def writes_to_one_key_need_not_wait(store: protocol.Store) -> None:
    writes = [store.write("a/1", _value(str(number))) for number in range(20)]
    head = store.head("a/1")
    assert head is not None and head.value.startswith(b"19@")
    entries = await asyncio.gather(*writes)
    assert [entry.revision for entry in entries] == sorted({entry.revision for entry in entries})
    assert store.get("a/1") == entries[-1]


async def pages_are_consistent(store: protocol.Store) -> None:
    for number in range(10):
        await store.write(f"a/n/{number}", _value(str(number)))
    await store.write("ab/n/0", _value("other bucket"))
    first = store.page("a/", limit=4)
    assert [entry.key for entry in first.entries] == [f"a/n/{n}" for n in range(4)] and first.remaining == 6
    await store.delete("a/n/5", _value("gone"))
    await store.write("a/n/45", _value("new"))
    await store.write("a/n/6", _value("changed"))
    rest = store.page("a/", after=first.entries[-1].key, revision=first.revision)
    assert [entry.value.split(b"@")[0] for entry in rest.entries] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert rest.revision == first.revision and rest.remaining == 0
    assert store.count("a/") == 10 and store.count("a/n/") == 10 and store.count("a/m/") == 0


async def prefixes_end_at_their_slash(store: protocol.Store) -> None:
    for key in ("a/ns/1", "a/ns-2/1", "a/n/1"):
        await store.write(key, _value("x"))
    assert [entry.key for entry in store.page("a/ns/").entries] == ["a/ns/1"]
    assert [entry.key for entry in store.page("a/").entries] == ["a/n/1", "a/ns-2/1", "a/ns/1"]


async def _take(watch: protocol.Watch, number: int) -> list[protocol.Event]:
    events: list[protocol.Event] = []
    while len(events) < number:
        events += await asyncio.wait_for(watch.next(), 10)
    return events


async def watch_sees_everything_once_in_order(store: protocol.Store) -> None:
    start = store.revision
    early = store.watch("a/", after=start)
    first = await store.write("a/1", _value("one"))
    await store.write("b/1", _value("elsewhere"))
    second = await store.write("a/1", _value("two"))
    last = await store.delete("a/1", _value("gone"))
    for watch in (early, store.watch("a/", after=start)):
        events = await _take(watch, 3)
        assert [event.revision for event in events] == [first.revision, second.revision, last.revision]
        assert [event.deleted for event in events] == [False, False, True]
        assert events[0].previous is None and events[1].previous == first and events[2].entry.value.startswith(b"gone")
        assert watch.idle()
    later = store.watch("a/", after=second.revision)
    assert [event.revision for event in await _take(later, 1)] == [last.revision]


async def watch_of_a_prefix(store: protocol.Store) -> None:
    watch = store.watch("a/n/", after=store.revision)
    await store.write("a/m/1", _value("x"))
    entry = await store.write("a/n/1", _value("y"))
    assert [event.entry for event in await _take(watch, 1)] == [entry]


async def closing_ends_a_waiting_watch(store: protocol.Store) -> None:
    watch = store.watch("a/", after=store.revision)
    waiting = asyncio.ensure_future(watch.next())
    await asyncio.sleep(0)
    watch.close()
    assert await asyncio.wait_for(waiting, 10) == []


async def compacted_history_is_refused(store: protocol.Store) -> None:
    first = await store.write("a/1", _value("one"))
    second = await store.write("a/1", _value("two"))
    await store.compact(second.revision)
    for ask in (lambda: store.watch("a/", after=first.revision - 1), lambda: store.page("a/", revision=first.revision)):
        try:
            ask()
        except protocol.Compacted as error:
            assert error.oldest == second.revision
        else:
            raise AssertionError("compacted history must be refused")
    assert store.get("a/1") == second
    watch = store.watch("a/", after=second.revision)
    third = await store.write("a/1", _value("three"))
    assert [event.entry for event in await _take(watch, 1)] == [third]


async def the_future_is_refused(store: protocol.Store) -> None:
    for ask in (
        lambda: store.watch("a/", after=store.revision + 1),
        lambda: store.page("a/", revision=store.revision + 1),
    ):
        try:
            ask()
        except protocol.FutureRevision:
            continue
        raise AssertionError("a revision that has not been must be refused")


async def a_stalled_watch_is_closed_alone(store: protocol.Store) -> None:
    stalled, good = store.watch("a/", after=store.revision), store.watch("a/", after=store.revision)
    big = b"x" * (1 << 20)
    seen = 0
    for _ in range(24):
        await store.write("a/1", lambda revision: big)
        seen += len(await _take(good, 1))
    assert seen == 24
    assert await asyncio.wait_for(stalled.next(), 10) == []


async def a_torn_subscriber_resumes_without_a_gap(store: protocol.Store) -> None:
    after, seen = store.revision, []
    for number in range(40):
        await store.write(f"a/{number % 7}", _value(str(number)))
        if number % 3 == 0:
            watch = store.watch("a/", after=after)
            events = await _take(watch, 1)
            watch.close()
            seen += [event.revision for event in events]
            after = seen[-1]
    assert seen == list(range(seen[0], seen[0] + len(seen)))


SCENARIOS: tuple[Scenario, ...] = (
    create_and_get,
    create_twice_conflicts,
    update_expects_its_revision,
    delete_expects_and_removes,
    a_failing_encoder_writes_nothing,
    writes_to_one_key_need_not_wait,
    pages_are_consistent,
    prefixes_end_at_their_slash,
    watch_sees_everything_once_in_order,
    watch_of_a_prefix,
    closing_ends_a_waiting_watch,
    compacted_history_is_refused,
    the_future_is_refused,
    a_stalled_watch_is_closed_alone,
    a_torn_subscriber_resumes_without_a_gap,
)


async def check(open_store: Callable[[], Awaitable[protocol.Store]]) -> None:
    """Every scenario on a store of its own."""
    for scenario in SCENARIOS:
        store = await open_store()
        try:
            await scenario(store)
        finally:
            await store.close()
