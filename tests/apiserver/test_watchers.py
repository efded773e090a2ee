"""Many watchers, cut at random points: each revision once and in order, hardly a resume refused."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client import errors, inprocess, rest

pytestmark = pytest.mark.system

KIND = kinds.CONFIG_MAP


class Watcher:
    """Follows one namespace and is cut now and then."""

    def __init__(self, client: rest.RestClient, source: random.Random, start: str) -> None:
        self._client = client
        self._source = source
        self._version = start
        self.seen: list[int] = []
        self.resumes = self.refused = 0

    async def run(self, until: int) -> None:
        while not self.seen or self.seen[-1] < until:
            self.resumes += 1
            events = self._client.watch(KIND, namespace="default", resource_version=self._version)
            left = self._source.randrange(1, 120)
            try:
                async for event in events:
                    self._version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        self.seen.append(int(self._version))
                    left -= 1
                    if left <= 0 or (self.seen and self.seen[-1] >= until):
                        break
            except errors.ApiError as error:
                assert error.gone
                self.refused += 1
            finally:
                await events.aclose()


@pytest.mark.parametrize(("watchers", "rate", "seconds"), [(200, 200, 3), (1000, 20, 3)])
async def test_cut_watchers_miss_nothing(api: server.ApiServer, watchers: int, rate: int, seconds: int) -> None:
    client, source = inprocess.client(api.exchange, server.ADMIN), random.Random(5)
    start = (await client.list(KIND, namespace="default")).resource_version
    writes = rate * seconds
    written: list[int] = []

    async def write() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(writes):
            body = {"metadata": {"name": f"c{number % 17}"}, "data": {"n": str(number)}}
            try:
                made = await client.create(KIND, body, namespace="default")
            except errors.ApiError:
                body["metadata"]["namespace"] = "default"
                made = await client.update(KIND, body)
            written.append(int(made["metadata"]["resourceVersion"]))
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))

    everyone = [Watcher(client, random.Random(source.random()), start) for _ in range(watchers)]
    last = int(start) + writes
    async with asyncio.timeout(90):
        await asyncio.gather(write(), *(one.run(last) for one in everyone))
    for one in everyone:
        assert one.seen == written
    resumes = sum(one.resumes for one in everyone)
    assert sum(one.refused for one in everyone) < 0.01 * resumes


async def test_a_stalled_watcher_is_closed_and_others_do_not_notice(api: server.ApiServer) -> None:
    client = inprocess.client(api.exchange, server.ADMIN)
    stalled = client.watch(KIND, namespace="default")
    good = client.watch(KIND, namespace="default", resource_version=(await client.list(KIND)).resource_version)
    waiting = asyncio.ensure_future(anext(stalled))
    text = "x" * 500_000
    seen = 0
    for number in range(40):
        body = {"metadata": {"name": f"big{number % 2}", "namespace": "default"}, "data": {"t": text, "n": str(number)}}
        await (client.create(KIND, body, namespace="default") if number < 2 else client.update(KIND, body))
        seen += (await anext(good)).type in ("ADDED", "MODIFIED")
        if number == 0:
            await waiting
    assert seen == 40
    rest_of_it = [event async for event in stalled]
    assert len(rest_of_it) < 39, "its queue was bounded"
    await good.aclose()


async def test_bookmarks_and_initial_events(api: server.ApiServer) -> None:
    client = inprocess.client(api.exchange, server.ADMIN)
    for name in ("a", "b"):
        await client.create(KIND, {"metadata": {"name": name}}, namespace="default")
    query = (
        ("watch", "1"),
        ("sendInitialEvents", "true"),
        ("resourceVersionMatch", "NotOlderThan"),
        ("allowWatchBookmarks", "true"),
    )
    request = rest.exchange.Request("GET", KIND.path("default"), query, {}, b"", server.ADMIN)
    response = await api.exchange(request)
    assert response.stream is not None
    lines: list[dict[str, object]] = []
    async for chunk in response.stream:
        lines += [json.loads(line) for line in chunk.splitlines()]
        if lines[-1]["type"] == "BOOKMARK":
            break
    await response.close()
    assert [line["type"] for line in lines] == ["ADDED", "ADDED", "BOOKMARK"]
    metadata = lines[-1]["object"]["metadata"]  # type: ignore[index]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_too_old_versions_are_gone(api: server.ApiServer) -> None:
    client = inprocess.client(api.exchange, server.ADMIN)
    old = (await client.list(KIND)).resource_version
    for name in ("a", "b"):
        await client.create(KIND, {"metadata": {"name": name}}, namespace="default")
    await api.chain.store.compact(api.chain.store.revision)
    with pytest.raises(errors.ApiError) as caught:
        await anext(client.watch(KIND, namespace="default", resource_version=old))
    assert caught.value.gone and caught.value.reason == "Expired"
