"""A ready endpoint where nobody listens is found by connecting to it; a pod with a readiness probe needs none."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.cli import silence
from fairlead.testing import apiserver

TITLE = "Service/default/web"


def pod(name: str, **container: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"name": "c", **container}]}}


def endpoints(port: int, *pods: str, ready: bool = True, protocol: str = "TCP") -> dict[str, Any]:
    found = [
        {"addresses": ["127.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}}
        for name in pods
    ]
    labels = {"kubernetes.io/service-name": "web"}
    metadata = {"name": "web-x", "namespace": "default", "labels": labels}
    return {
        "metadata": metadata, "addressType": "IPv4", "endpoints": found, "ports": [{"port": port, "protocol": protocol}]
    }  # fmt: skip


def test_only_ready_tcp_endpoints_of_pods_without_a_readiness_probe_are_tried() -> None:
    pods = {"default/a": pod("a"), "default/probed": pod("probed", readinessProbe={"tcpSocket": {"port": 1}})}
    found = silence.doors([endpoints(80, "a", "probed", "gone")], {TITLE}, pods)
    assert found == [silence.Door(TITLE, "pod/a", "127.0.0.1", 80)]
    assert silence.doors([endpoints(80, "a", ready=False)], {TITLE}, pods) == []
    assert silence.doors([endpoints(80, "a", protocol="UDP")], {TITLE}, pods) == []
    assert silence.doors([endpoints(80, "a")], {"Service/default/other"}, pods) == []


async def test_who_refuses_is_told_and_who_listens_after_a_while_is_not() -> None:
    client = apiserver.FakeApiServer(clock=clocks.SystemClock()).client()
    await client.create(kinds.POD, pod("a"), namespace="default")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        slices = [endpoints(port, "a")]
        assert [str(door) for door in await silence.silent(client, slices, {TITLE})] == [
            f"nobody listens at 127.0.0.1:{port}, pod/a"
        ]
        waiting = asyncio.ensure_future(silence.silent(client, slices, {TITLE}, patience_seconds=30))
        await asyncio.sleep(0)
        held.listen()
        assert await waiting == []
