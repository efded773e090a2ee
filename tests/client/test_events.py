"""Events are written in the background, aggregated and bounded."""

from collections.abc import AsyncIterator

import pytest

from fairlead.api import kinds
from fairlead.client import events
from fairlead.testing import apiserver, clock

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default", "uid": "u1"}}


class Bench:
    def __init__(self) -> None:
        self.clock = clock.FakeClock()
        self.client = apiserver.FakeApiServer(clock=self.clock).client()
        self.recorder = events.Recorder(
            self.client, component="tests", clock=self.clock, on_failure=lambda name, error: pytest.fail(str(error))
        )

    async def written(self) -> list[dict[str, object]]:
        await self.recorder.flushed()
        return (await self.client.list(kinds.EVENT)).items


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
