"""Events are written in the background, aggregated and bounded, and after what is urgent."""

from collections.abc import AsyncIterator

import pytest

from fairlead.api import kinds
from fairlead.base import leisure
from fairlead.client import events
from fairlead.testing import apiserver, clock

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default", "uid": "u1"}}


class Bench:
    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.leisure = leisure.Leisure(self.clock)
        self.server = apiserver.FakeApiServer(clock=self.clock)
        self.client = self.server.client()
        self.recorder = events.Recorder(
            self.client,
            component="tests",
            clock=self.clock,
            on_failure=lambda name, error: pytest.fail(str(error)),
            leisure=self.leisure,
        )

    async def written(self) -> list[dict[str, object]]:
        await self.recorder.flushed()
        return await self.there()

    async def there(self) -> list[dict[str, object]]:
        """In the order in which they were written."""
        found = (await self.client.list(kinds.EVENT)).items
        return sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]))

    def record(self, *messages: str) -> None:
        for message in messages:
            self.recorder.event(POD, "Normal", "R", message)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.recorder.close()


async def test_an_event_names_object_reason_and_component(bench: Bench) -> None:
    bench.recorder.event(POD, "Normal", "Started", "it runs")
    bench.recorder.start()
    (event,) = await bench.written()
    assert event["involvedObject"]["uid"] == "u1"  # type: ignore[index]
    assert (event["reason"], event["message"], event["count"]) == ("Started", "it runs", 1)
    assert event["source"] == {"component": "tests"}


async def test_the_same_again_is_counted(bench: Bench) -> None:
    bench.recorder.start()
    for _ in range(3):
        bench.recorder.event(POD, "Warning", "Failed", "it fell")
        await bench.recorder.flushed()
        await bench.clock.advance(60)
    (event,) = await bench.written()
    assert event["count"] == 3
    assert str(event["firstTimestamp"]) < str(event["lastTimestamp"])


async def test_an_event_deleted_meanwhile_is_written_anew(bench: Bench) -> None:
    bench.recorder.start()
    bench.recorder.event(POD, "Normal", "R", "m")
    (event,) = await bench.written()
    await bench.client.delete(kinds.EVENT, event["metadata"]["name"], namespace="default")  # type: ignore[index]
    bench.recorder.event(POD, "Normal", "R", "m")
    (event,) = await bench.written()
    assert event["count"] == 1


async def test_many_similar_events_become_one(bench: Bench) -> None:
    bench.recorder.start()
    for number in range(100):
        bench.recorder.event(POD, "Warning", "Unhealthy", f"probe {number}")
    found = await bench.written()
    assert len(found) == events.SIMILAR + 1
    assert sum(int(str(event["count"])) for event in found) == 100


async def test_what_does_not_fit_is_dropped_and_counted(bench: Bench) -> None:
    for number in range(events.QUEUE + 5):
        bench.recorder.event(POD, "Normal", "R", str(number))
    assert bench.recorder.dropped == 5


async def test_events_wait_for_what_is_urgent_and_come_in_their_order(bench: Bench) -> None:
    bench.recorder.start()
    bench.leisure.begin()
    messages = [f"{number}" for number in range(20)]
    bench.record(*messages[:10])
    await bench.clock.advance(0.1)
    bench.record(*messages[10:])
    assert await bench.there() == []
    bench.leisure.end()
    await bench.clock.advance(leisure.PAUSE_SECONDS + leisure.LOOK_SECONDS)
    found = await bench.there()
    assert [event["message"] for event in found] == messages
    names = [event["metadata"]["name"] for event in found]  # type: ignore[index]
    assert names == sorted(names)


async def test_events_are_written_after_a_second_whatever_is_urgent(bench: Bench) -> None:
    bench.recorder.start()
    bench.leisure.begin()
    bench.record("a")
    await bench.clock.advance(events.LATEST_SECONDS)
    assert len(await bench.there()) == 1


async def test_what_is_told_several_times_meanwhile_is_one_write_with_its_count(bench: Bench) -> None:
    bench.recorder.start()
    bench.leisure.begin()
    bench.record("a")
    await bench.clock.advance(0.5)
    bench.server.requests.clear()
    for _ in range(2):
        bench.record("a")
        await bench.clock.advance(0.2)
    (event,) = await bench.written()
    assert event["count"] == 3
    assert [method for method, _ in bench.server.requests] == ["POST"]
    bench.record("a", "a")
    (event,) = await bench.written()
    assert event["count"] == 5
    assert [method for method, _ in bench.server.requests] == ["POST", "PATCH"]


async def test_nothing_is_lost_when_the_recorder_finishes(bench: Bench) -> None:
    bench.recorder.start()
    bench.leisure.begin()
    bench.record("a", "b")
    await bench.clock.advance(0.1)
    assert await bench.there() == []
    await bench.recorder.finish()
    assert [event["message"] for event in await bench.there()] == ["a", "b"]


async def test_many_that_wait_are_written_before_any_is_dropped(bench: Bench) -> None:
    bench.recorder.start()
    bench.leisure.begin()
    for _ in range(3):
        bench.record(*(f"{number}" for number in range(events.QUEUE // 2 + 1)))
        await bench.clock.advance(leisure.LOOK_SECONDS)
    assert bench.recorder.dropped == 0
    assert sum(int(str(event["count"])) for event in await bench.there()) == 3 * (events.QUEUE // 2 + 1)
