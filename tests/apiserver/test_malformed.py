"""Malformed input: always a 4xx Status that names the field, quickly, and never an error in the log."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client.exchange import Request, Response

from . import malformed, samples

STRICT = (("fieldValidation", "Strict"),)
SLOW_SECONDS = 0.1


async def send(api: server.ApiServer, method: str, path: str, body: bytes, **more: Any) -> tuple[Response, float]:
    headers = {"content-type": more.pop("content_type", "application/json")}
    request = Request(method, path, more.pop("query", ()), headers, body, server.ADMIN)
    start = time.process_time()
    response = await api.exchange(request)
    return response, time.process_time() - start


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: f"{kind.plural}.{kind.group}.{kind.version}")
async def test_samples_are_good(api: server.ApiServer, kind: kinds.Kind) -> None:
    path = kind.path("default" if kind.namespaced else "")
    response, _ = await send(api, "POST", path, json.dumps(samples.sample(kind)).encode(), query=STRICT)
    assert response.status == 201, response.body


@pytest.mark.system
async def test_thousands_of_wrong_objects(api: server.ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    wrong, slow, counted = [], [], Counter[str]()
    for case in malformed.cases():
        path = case.kind.path("default" if case.kind.namespaced else "")
        response, seconds = await send(api, "POST", path, json.dumps(case.body).encode(), query=STRICT)
        counted[case.kind.kind] += 1
        status = json.loads(response.body)
        named = case.field in json.dumps(status)
        if not 400 <= response.status < 500 or status.get("kind") != "Status" or not named:
            wrong.append((case.kind.kind, case.path, response.status, status.get("message", "")[:200]))
        if seconds > SLOW_SECONDS:
            slow.append((case.kind.kind, case.path, seconds))
    assert not wrong, f"{len(wrong)}: {wrong[:12]}"
    assert not slow
    assert counted.total() >= 2000, counted
    assert not caplog.records


BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"{}",
    b'{"kind":1}',
    b'{"metadata":[]}',
    b"\xff\xfe",
    b"{" * 5000,
    b'{"a":' * 70 + b"1" + b"}" * 70,
    b'{"apiVersion":"v1","kind":"Other"}',
    b'{"apiVersion":"v2","kind":"ConfigMap"}',
    b'{"metadata":{"name":null}}',
    b'{"metadata":{"name":"x","name":"y"},"data":{"a":[1e400]}}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_bodies_that_are_no_objects(api: server.ApiServer, body: bytes) -> None:
    for method, path in (
        ("POST", "/api/v1/namespaces/default/configmaps"),
        ("PUT", "/api/v1/namespaces/default/configmaps/x"),
    ):
        for kind in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"):
            response, _ = await send(api, method, path, body, content_type=kind)
            assert 400 <= response.status < 500, (method, kind, response.body)


QUERIES = [
    ("labelSelector", "a=b=c"),
    ("labelSelector", "a in (b"),
    ("labelSelector", "!"),
    ("labelSelector", "=x"),
    ("fieldSelector", "spec.nope=1"),
    ("fieldSelector", "x"),
    ("limit", "-1"),
    ("limit", "x"),
    ("continue", "AAAA"),
    ("continue", "e30="),
    ("resourceVersion", "x"),
    ("resourceVersion", "-3"),
    ("resourceVersionMatch", "Exact"),
    ("resourceVersionMatch", "Other"),
    ("watch", "maybe"),
]


@pytest.mark.parametrize(("name", "value"), QUERIES)
async def test_wrong_queries(api: server.ApiServer, name: str, value: str) -> None:
    response, _ = await send(api, "GET", "/api/v1/pods", b"", query=((name, value),))
    assert 400 <= response.status < 500, response.body


PATHS = [
    "/api/v1/namespaces/default/pods/p/nope",
    "/api/v2/pods",
    "/apis/apps/v1/nope",
    "/apis/x/y/z",
    "/api/v1/nodes/n/log",
    "/apis/apps/v1/namespaces/default/deployments/d/log",
    "/nope",
    "/api/v1/namespaces/a/b/c/d/e/f",
    "/apis//v1/x",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
async def test_wrong_paths(api: server.ApiServer, method: str, path: str) -> None:
    response, _ = await send(api, method, path, b"{}")
    assert 400 <= response.status < 500, response.body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "metadata",
                    "spec",
                    "name",
                    "data",
                    "labels",
                    "containers",
                    "op",
                    "path",
                    "value",
                    "$patch",
                    "template",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patch=JSON, kind=st.sampled_from(PATCHES))
async def test_any_patch_is_applied_or_refused(api: server.ApiServer, patch: Any, kind: str) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments/sample"
    await send(api, "POST", path.rpartition("/")[0], json.dumps(samples.sample(kinds.DEPLOYMENT)).encode())
    query = (("fieldManager", "m"), ("dryRun", "All"))
    response, _ = await send(api, "PATCH", path, json.dumps(patch).encode(), content_type=kind, query=query)
    assert response.status < 500, response.body
