"""A document without Kubernetes becomes the same table; what it says wrong is named, never ignored."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.api import manifest
from fairlead.routing import standalone, table


def translate(document: Any) -> standalone.Standalone:
    found, problems = standalone.translate(document, source="lb.yaml", read_file=lambda name: f"text of {name}")
    assert not problems
    assert found is not None
    return found


def problems(document: Any) -> list[str]:
    found, wrong = standalone.translate(document, source="lb.yaml", read_file=_missing)
    assert found is None
    return [str(one) for one in wrong]


def _missing(name: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", name)


WEB = {"web": {"address": "http://:8080"}}
APP = {"app": {"endpoints": ["10.0.0.1:80"]}}


def test_one_backend_needs_no_routes() -> None:
    found = translate({"listeners": WEB, "backends": APP})
    assert found.structure.listeners["web"].sockets == ("tcp:0.0.0.0:8080", "tcp:[::]:8080")
    [route] = found.structure.routes.values()
    assert route.listeners == ("web",)
    assert route.backends == (table.WeightedBackend(backend="app"),)
    assert found.endpoints["app"] == (table.Endpoint(address="10.0.0.1", port=80),)


def test_a_route_without_any_timeout_says_so_to_the_engine() -> None:
    routes = [{"path": "/", "backends": ["app"], "timeouts": {"request_seconds": 0}}]
    [route] = translate({"listeners": WEB, "backends": APP, "routes": routes}).structure.routes.values()
    assert msgspec.to_builtins(route)["timeouts"] == {"request_seconds": 0.0}


def test_names_are_left_to_the_caller_and_weights_are_kept() -> None:
    found = translate(
        {"listeners": WEB, "backends": {"app": {"endpoints": [{"address": "a.example:81", "weight": 3}]}}}
    )
    assert found.named["app"] == (standalone.Named("a.example", 81, 3),)
    assert found.endpoints["app"] == ()


def test_a_backend_of_routes_and_of_a_tcp_listener_has_two_views() -> None:
    listeners = {**WEB, "raw": {"address": "tcp://127.0.0.1:9000"}}
    found = translate({"listeners": listeners, "backends": APP, "routes": [{"path": "/", "backends": ["app"]}]})
    assert found.structure.backends["app"].protocol == "http"
    assert found.structure.backends[found.structure.listeners["raw"].backend].protocol == "tcp"
    assert found.endpoints["app/tcp"] == found.endpoints["app"]


def test_https_takes_certificates_from_files() -> None:
    secure = {"s": {"address": "https://[::1]:8443", "certificates": [{"certificate": "a.pem", "key": "a.key"}]}}
    found = translate({"listeners": secure, "backends": APP})
    assert found.structure.certificates["s/0"].chain_pem == "text of a.pem"
    assert found.structure.listeners["s"].sockets == ("tcp:[::1]:8443",)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "lb.yaml: a mapping with listeners, backends and routes is expected"),
        ({"listener": WEB, "backends": APP}, "lb.yaml: listener: unknown field"),
        ({"listeners": {"w": {"address": "8080"}}, "backends": APP}, "lb.yaml: listeners.w.address: '8080': one of"),
        ({"listeners": WEB, "backends": {"app": {"endpoints": ["10.0.0.1"]}}}, "lb.yaml: backends.app.endpoints[0]"),
        ({"listeners": WEB, "backends": {"a": {"algoritm": "x"}}}, "lb.yaml: backends.a.algoritm: unknown field"),
        (
            {"listeners": WEB, "backends": {"a": {"health": {"kind": "http", "pth": "/"}}}},
            "lb.yaml: backends.a.health.pth: unknown field",
        ),
        ({"listeners": WEB, "backends": {"a": {}, "b": {}}}, "lb.yaml: routes: is needed"),
        (
            {"listeners": WEB, "backends": APP, "routes": [{"backends": ["nobody"]}]},
            "lb.yaml: routes[0].backends: no backend 'nobody'",
        ),
        (
            {"listeners": {"s": {"address": "https://:1"}}, "backends": APP},
            "lb.yaml: listeners.s.certificates: https needs at least one",
        ),
        (
            {
                "listeners": {"s": {"address": "https://:1", "certificates": [{"certificate": "no", "key": "no"}]}},
                "backends": APP,
            },
            "lb.yaml: listeners.s.certificates[0].certificate: no: No such file",
        ),
    ],
)
def test_a_mistake_is_named_by_its_field(document: Any, message: str) -> None:
    assert any(text.startswith(message) for text in problems(document)), problems(document)


def test_a_tls_listener_without_routes_has_the_one_backend() -> None:
    pair = [{"certificate": "a.pem", "key": "a.key"}]
    listeners = {"ends": {"address": "tls://:1", "certificates": pair}, "passes": {"address": "tls://:2"}, **WEB}
    found = translate({"listeners": listeners, "backends": APP}).structure
    ways = {route.listeners: found.backends[route.backends[0].backend].protocol for route in found.routes.values()}
    assert ways == {("web",): "http", ("ends",): "tcp", ("passes",): "tls"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"listeners": {}}, "listeners: at least one is needed"),
        ({"backends": {"app": {"endpoints": "10.0.0.1:80"}}}, "backends.app.endpoints: must be a list"),
        ({"backends": {"app": {"endpoints": ["http://a:80"]}}}, "endpoints[0]: 'http://a' is no address and no name"),
        (
            {"backends": {"app": {"algorithm": "best"}}},
            "backends.app.algorithm: there is no algorithm 'best'; there are",
        ),
        ({"backends": {"app": {"health": {"kind": "ping"}}}}, "health.kind: Invalid enum value 'ping'; known are"),
    ],
)
def test_one_mistake_is_one_line(change: dict[str, Any], words: str) -> None:
    [line] = problems({"listeners": WEB, "backends": APP} | change)
    assert words in line


def test_a_file_that_is_no_text_is_no_certificate() -> None:
    def binary(name: str) -> str:
        return b"\x82".decode()

    secure = {"s": {"address": "https://:1", "certificates": [{"certificate": "a.der", "key": "a.key"}]}}
    found, wrong = standalone.translate({"listeners": secure, "backends": APP}, source="lb.yaml", read_file=binary)
    assert found is None
    assert wrong[0].message == "a.der: is not text; certificates and keys are read as PEM"


def test_the_file_in_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "lb.md").read_text()
    text = page.partition("## The file\n\n")[2].partition("\n\n`path`")[0]
    [(_, document)] = manifest.load_documents(textwrap.dedent(text), source="lb.md")
    found = translate(document).structure
    assert set(found.listeners) == {"web", "secure", "postgres"}
    assert found.backends[found.listeners["postgres"].backend].protocol == "tcp"
    assert len(found.routes) == 2
