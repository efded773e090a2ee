"""schemathesis reads our own OpenAPI and sends what it allows: no 5xx, no answer that the document does not have."""

from __future__ import annotations

import json
import logging
import urllib.parse
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fairlead.api import kinds
from fairlead.apiserver import server
from fairlead.client import exchange

from . import samples

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (requirements-dev.lock)")
pytestmark = pytest.mark.system

KINDS = (
    kinds.POD, kinds.SERVICE, kinds.SECRET, kinds.NAMESPACE, kinds.EVENT, kinds.DEPLOYMENT, kinds.JOB, kinds.HPA,
    kinds.INGRESS, kinds.ENDPOINT_SLICE, kinds.POD_DISRUPTION_BUDGET, kinds.ROLE_BINDING, kinds.BACKEND_POLICY,
)  # fmt: skip
_FEW = settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


async def _send(api: server.ApiServer, method: str, path: str, **more: Any) -> exchange.Response:
    request = exchange.Request(method, path, more.get("query", ()), more.get("headers", {}), more.get("body", b""))
    return await api.exchange(exchange.Request(**{**_fields(request), "identity": server.ADMIN}))


def _fields(request: exchange.Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in ("method", "path", "query", "headers", "body")}


def _cases(operation: Any) -> list[Any]:
    """Always the same few requests for an operation."""
    found: list[Any] = []

    @_FEW
    @given(operation.as_strategy())
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


def _path(case: Any, number: int) -> str:
    """In a namespace that is there and, every other time, about an object that is there."""
    path = str(case.path)
    for key, value in (case.path_parameters or {}).items():
        known = {"namespace": "default", "name": "sample" if number % 2 else value}
        path = path.replace("{" + key + "}", urllib.parse.unquote(str(known.get(key, value))).replace("/", "_") or "x")
    return path


def _parts(case: Any) -> dict[str, Any]:
    query = tuple((key, str(value)) for key, value in (case.query or {}).items() if key != "watch")
    given = case.media_type and type(case.body).__name__ != "NotSet"
    body = json.dumps(case.body).encode() if given else b""
    return {"query": query, "body": body, "headers": {"content-type": case.media_type or "application/json"}}


def _wrong(operation: Any, response: exchange.Response) -> str:
    """What the document does not say about an answer, or ""."""
    documented = operation.definition.raw["responses"]
    answer = documented.get(str(response.status), documented.get("default"))
    if response.status >= 500 or answer is None:
        return f"{response.status}: {response.body[:200]!r}"
    content = response.headers.get("content-type", "").partition(";")[0]
    if content not in (answer.get("content") or {}):
        return f"{response.status} with {content}"
    return "" if response.status < 400 or json.loads(response.body)["kind"] == "Status" else "an error without a Status"


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_every_answer_is_in_the_document(
    api: server.ApiServer, kind: kinds.Kind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    name = f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"
    document = json.loads((await _send(api, "GET", f"/openapi/v3/{name}")).body)
    collection = kind.path("{namespace}" if kind.namespaced else "")
    item = collection + "/{name}"
    chosen = {path: what for path, what in document["paths"].items() if path == collection or path.startswith(item)}
    document["paths"] = chosen
    body = json.dumps(samples.sample(kind)).encode()
    json_type = {"content-type": "application/json"}
    made = await _send(api, "POST", collection.format(namespace="default"), body=body, headers=json_type)
    assert made.status == 201
    wrong, seen = [], Counter[int]()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        for number, case in enumerate(_cases(operation)):
            response = await _send(api, operation.method.upper(), _path(case, number), **_parts(case))
            seen[response.status] += 1
            if problem := _wrong(operation, response):
                wrong.append((operation.label, problem, _path(case, number), _parts(case)))
    assert not wrong, f"{len(wrong)} of {seen.total()}: {wrong[:3]}"
    assert seen.total() >= 20 and not caplog.records
