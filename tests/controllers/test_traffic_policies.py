"""BackendPolicies and ingress-nginx' ConfigMap through the traffic loop, over an API server in memory."""

import asyncio
import contextlib
import random

import pytest

from fairlead.api import kinds
from fairlead.base import clock
from fairlead.client import events, informers
from fairlead.controllers import traffic, traffic_statuses
from fairlead.dataplane import coordinator
from fairlead.routing import settings
from fairlead.testing import apiserver, planes

PLAIN = settings.Settings()
SERVICE = {
    "metadata": {"namespace": "default", "name": "web"},
    "spec": {"clusterIP": "127.96.0.10", "ports": [{"port": 80, "appProtocol": "http"}]},
}


def policy(name, **spec):
    target = {"kind": "Service", "name": "web"}
    return {"metadata": {"namespace": "default", "name": name}, "spec": {"targetRefs": [target], **spec}}


@contextlib.asynccontextmanager
async def running(where=PLAIN):
    """A traffic loop over a fake plane: (server's client, traffic)."""
    failures = []
    fail = lambda *failure: failures.append(failure)  # noqa: E731
    now = clock.SystemClock()
    client = apiserver.FakeApiServer(clock=now).client()
    shared = informers.Informers(client, clock=now, rng=random.Random(1), on_failure=fail)
    recorder = events.Recorder(client, component="traffic", clock=now, on_failure=fail)
    sink = coordinator.Coordinator([planes.FakePlane()], clock=now, on_failure=fail)
    loop = traffic.Traffic(client, shared, where=where, sink=sink, recorder=recorder, clock=now, on_failure=fail)
    await loop.start()
    shared.start()
    recorder.start()
    try:
        yield client, loop
    finally:
        for one in (loop, shared, recorder, sink):
            await one.close()
    assert failures == []


async def until(condition):
    async with asyncio.timeout(5):
        while not (found := await condition()):
            await asyncio.sleep(0.005)
    return found


async def test_a_policy_reaches_the_table_and_its_status_tells_so_once():
    async with running() as (client, loop):
        await client.create(kinds.SERVICE, SERVICE, namespace="default")
        await client.create(kinds.BACKEND_POLICY, policy("fast", algorithm="ewma"), namespace="default")

        async def accepted():
            found = await client.get(kinds.BACKEND_POLICY, "fast", namespace="default")
            return (found.get("status") or {}).get("ancestors")

        [ancestor] = await until(accepted)
        [condition] = ancestor["conditions"]
        assert (condition["type"], condition["status"]) == ("Accepted", "True")
        assert condition["lastTransitionTime"]
        assert loop.translation.structure.backends["default/web:80/http"].algorithm == "ewma"
        await loop.settled()
        before = await client.get(kinds.BACKEND_POLICY, "fast", namespace="default")
        await client.create(kinds.BACKEND_POLICY, policy("late", algorithm="random"), namespace="default")

        async def refused():
            found = await client.get(kinds.BACKEND_POLICY, "late", namespace="default")
            return (found.get("status") or {}).get("ancestors")

        [ancestor] = await until(refused)
        assert ancestor["conditions"][0]["reason"] == "Conflicted"
        after = await client.get(kinds.BACKEND_POLICY, "fast", namespace="default")
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_the_configmap_of_ingress_nginx_is_followed_where_asked_for():
    ingress = {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [
                {
                    "host": "a.example",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "web", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ],
        },
    }
    config = {
        "metadata": {"namespace": "ingress-nginx", "name": "ingress-nginx-controller"},
        "data": {"proxy-body-size": "7m"},
    }
    async with running(settings.Settings(ingress_nginx=True)) as (client, loop):
        await client.create(kinds.SERVICE, SERVICE, namespace="default")
        await client.create(kinds.INGRESS, ingress, namespace="default")
        await client.create(kinds.CONFIG_MAP, config, namespace="ingress-nginx")

        async def followed():
            route = loop.translation.structure.routes.get("Ingress/default/web/0/0")
            return route is not None and route.max_body_bytes == 7 * 1024**2

        assert await until(followed)


@pytest.mark.parametrize(("status", "since"), [("True", "old"), ("False", "new")])
def test_a_transition_time_moves_only_with_the_status(status, since):
    ref = {"name": "web"}
    known = {
        "ancestors": [
            {"ancestorRef": ref, "conditions": [{"type": "Accepted", "status": "True", "lastTransitionTime": "old"}]}
        ]
    }
    wanted = {
        "ancestors": [{"ancestorRef": ref, "conditions": [{"type": "Accepted", "status": status, "reason": "x"}]}]
    }
    found = traffic_statuses.stamped(wanted, known, now="new")
    assert found["ancestors"][0]["conditions"][0]["lastTransitionTime"] == since
