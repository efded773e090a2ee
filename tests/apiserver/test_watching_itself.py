"""Metrics in Prometheus' format; an audit log that names who did what and holds no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client import errors, exchange, inprocess, rest


async def test_metrics(api: server.ApiServer, client: rest.RestClient) -> None:
    await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "c"}}, namespace="default")
    answer = await api.exchange(exchange.Request("GET", "/metrics", (), {}, b"", server.ADMIN))
    text = answer.body.decode()
    assert 'apiserver_request_total{verb="create",resource="configmaps",code="201"} 1' in text
    assert 'apiserver_request_duration_seconds_count{verb="create",resource="configmaps"} 1' in text
    assert 'apiserver_storage_objects{resource="configmaps"} 1' in text
    assert "process_resident_memory_bytes" in text
    for line in text.splitlines():
        assert line.startswith("# TYPE ") or float(line.rsplit(" ", 1)[1]) >= 0


async def test_audit_log(api: server.ApiServer, client: rest.RestClient, tmp_path: Path) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
    await client.create(kinds.SECRET, secret, namespace="default")
    await client.get(kinds.SECRET, "s", namespace="default")
    jane = inprocess.client(api.exchange, exchange.Identity("jane", ("system:authenticated",)))
    with pytest.raises(errors.ApiError):
        await jane.get(kinds.SECRET, "s", namespace="default")
    assert api.chain.audit is not None
    api.chain.audit.flush()
    text = (tmp_path / "log" / "audit.log").read_text()
    assert "hunter2" not in text and "aHVudGVyMg" not in text
    events = [json.loads(line) for line in text.splitlines()]
    mine = [
        event
        for event in events
        if event.get("objectRef", {}).get("name") == "s" or event["user"]["username"] == "jane"
    ]
    assert [(event["verb"], event["user"]["username"], event["responseStatus"]["code"]) for event in mine] == [
        ("create", "kubernetes-admin", 201),
        ("get", "jane", 403),
    ]
    assert mine[1]["objectRef"] == {"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"}


async def test_an_audit_log_on_a_full_disk_drops_lines_counts_them_and_goes_on(
    api: server.ApiServer, client: rest.RestClient, tmp_path: Path
) -> None:
    path = tmp_path / "log" / "audit.log"
    assert api.chain.audit is not None
    api.chain.audit.flush()
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/full")
    await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "lost"}}, namespace="default")
    api.chain.audit.flush()
    path.unlink()
    await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "kept"}}, namespace="default")
    api.chain.audit.flush()
    named = [json.loads(line).get("objectRef", {}).get("name") for line in path.read_text().splitlines()]
    assert "kept" in named and "lost" not in named
    answer = await api.exchange(exchange.Request("GET", "/metrics", (), {}, b"", server.ADMIN))
    assert "fairlead_audit_dropped_total 0" not in answer.body.decode()
