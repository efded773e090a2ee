"""A hostile string harms only the object that carries it; one test for each CVE that taught the rule."""

import contextlib
import functools
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies

from fairlead.routing import settings, table, translate
from fairlead.routing.ingress_nginx import catalogue

ROOT = ("/", "Prefix", "web")
PREFIX = catalogue.PREFIX
INJECTIONS = (
    "#;\n}\n}\n}\nload_module /tmp/x.so;\n", "$(id)", "`id`", "{{7*7}}", "a\r\nX-Evil: 1", "a;proxy_pass http://x;",
    "'\"}{", "\\", "$request_body", "/etc/passwd", "../../..", "\x00", "\u202e", "a" * 5000, "*", "**.victim.example",
    "(", "(a+)+$", "/$1$host", "https://victim.example", "true", "%0d%0a", "http://127.0.0.1:10246/", "0", "-1", "NaN",
    "1e309", "ssl_engine x",
)  # fmt: skip
HOSTILE = strategies.one_of(strategies.text(max_size=80), strategies.sampled_from(INJECTIONS))


def victims() -> list[dict[str, Any]]:
    def one(name: str, host: str, namespace: str, **annotations: str) -> dict[str, Any]:
        paths = [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]
        return {
            "kind": "Ingress",
            "metadata": {
                "name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {PREFIX + key.replace("_", "-"): value for key, value in annotations.items()},
            },
            "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]},
        }  # fmt: skip

    return [
        one("plain", "victim.example", "victim"),
        one("sticky", "sticky.victim.example", "victim", affinity="cookie", limit_rps="5"),
        one("wild", "*.wild.example", "victim", enable_cors="true"),
    ]


def service(namespace: str, address: str) -> dict[str, Any]:
    meta = {"name": "web", "namespace": namespace}
    return {"kind": "Service", "metadata": meta, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}


def structure(ingresses: list[dict[str, Any]], **more: Any) -> table.Structure:
    services = [service("victim", "127.96.0.1"), service("evil", "127.96.0.2")]
    snapshot = translate.Snapshot(services=services, ingresses=ingresses, **more)
    return translate.translate(snapshot, settings.Settings(ingress_nginx=True)).structure


def of_victims(found: table.Structure) -> bytes:
    """Everything of the table that is not the attacker's own, `order` among all aside."""
    routes = {
        name: msgspec.structs.replace(route, order=0)
        for name, route in found.routes.items()
        if not route.info.object.startswith("Ingress/evil/")
    }
    backends = {name: one for name, one in found.backends.items() if not name.startswith("evil/") and name[0] != "@"}
    return msgspec.json.encode([routes, backends, found.listeners, found.certificates])


BEFORE = of_victims(structure(victims()))


def attacker(value: str, path: tuple[Any, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kind": "Ingress",
        "metadata": {
            "name": "evil",
            "namespace": "evil",
            "creationTimestamp": "2025-01-01T00:00:00Z",
            "annotations": {},
        },
        "spec": {
            "ingressClassName": "nginx",
            "defaultBackend": {"service": {"name": "web", "port": {"name": "", "number": 80}}},
            "tls": [{"hosts": ["evil.example"], "secretName": "tls"}],
            "rules": [
                {
                    "host": "evil.example",
                    "http": {
                        "paths": [
                            {
                                "path": "/x",
                                "pathType": "Prefix",
                                "backend": {
                                    "service": {"name": "web", "port": {"name": "", "number": 80}},
                                },
                            }
                        ]
                    },
                }
            ],
        },
    }
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return made


FIELDS: list[tuple[Any, ...]] = [
    ("metadata", "name"), ("spec", "defaultBackend", "service", "name"),
    ("spec", "defaultBackend", "service", "port", "name"),
    ("spec", "tls", 0, "secretName"), ("spec", "tls", 0, "hosts", 0),
    ("spec", "rules", 0, "host"), ("spec", "rules", 0, "http", "paths", 0, "path"),
    ("spec", "rules", 0, "http", "paths", 0, "pathType"),
    ("spec", "rules", 0, "http", "paths", 0, "backend", "service", "name"),
    ("spec", "rules", 0, "http", "paths", 0, "backend", "service", "port", "name"),
    ("spec", "rules"), ("spec", "tls"), ("spec", "defaultBackend"), ("metadata", "annotations"),
]  # fmt: skip


@hypothesis.given(value=HOSTILE, field=strategies.sampled_from(FIELDS))
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_string_of_an_ingress_changes_another_route(value: str, field: tuple[Any, ...]) -> None:
    if field[-1] == "host" and value.lower() in ("victim.example", "sticky.victim.example", "*.wild.example", ""):
        return  # sharing a host is what Ingresses may do
    assert of_victims(structure([attacker(value, field), *victims()])) == BEFORE


@hypothesis.given(value=HOSTILE, name=strategies.sampled_from(sorted(catalogue.ENTRIES)))
@hypothesis.settings(max_examples=500, deadline=None)
def test_no_annotation_changes_another_hosts_route(value: str, name: str) -> None:
    evil = attacker(value, ("metadata", "annotations", PREFIX + name))
    if name == "server-alias" and "victim" in value:
        return  # an alias never takes a host that an Ingress has: tested apart
    assert of_victims(structure([evil, *victims()])) == BEFORE


@hypothesis.given(data=strategies.dictionaries(strategies.sampled_from(sorted(catalogue.ENTRIES)), HOSTILE, max_size=6))
@hypothesis.settings(max_examples=200, deadline=None)
def test_whatever_is_translated_is_plain_text_for_headers(data: dict[str, str]) -> None:
    """No part of the table that reaches a header or another server holds a control character."""
    evil = attacker("/x", ("spec", "rules", 0, "http", "paths", 0, "path"))
    evil["metadata"]["annotations"] = {PREFIX + name: value for name, value in data.items()}
    found = structure([evil])
    for route in found.routes.values():
        for text in _texts(msgspec.to_builtins([route.redirect, route.request_headers, route.cors, route.access])):
            assert not any(ord(letter) < 32 or ord(letter) == 127 for letter in text)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []


def annotated(world: Any, **annotations: str) -> list[str]:
    world.ingress("bystander", "b.example", ROOT)
    before = msgspec.json.encode(world.route("http://b.example/"))
    words = {key.replace("_", "-"): value for key, value in annotations.items()}
    evil = world.ingress("evil", "evil.example", ROOT, annotations=words, namespace="evil")
    assert msgspec.json.encode(world.route("http://b.example/")) == before
    assert "load_module" not in msgspec.json.encode(world.translate().structure).decode()
    assert evil["metadata"]["annotations"]
    found: list[str] = world.problems()
    return found


LOAD = "load_module /tmp/evil.so;"


#: with a line break, which no value may have, and without one: then the value's own parser is alone
BREAKS = pytest.mark.parametrize("end", ["\n", ""], ids=["with a line break", "without"])


@BREAKS
def test_cve_2021_25746_a_directive_in_any_annotation(world: Any, end: str) -> None:
    assert annotated(world, app_root=f"/;}}{end}{LOAD}") == [
        "InvalidValue Ingress/evil/evil metadata.annotations[app-root]"
    ]


def test_cve_2021_25746_a_line_break_where_any_text_is_welcome(world: Any) -> None:
    assert annotated(world, canary_by_header_value=f"ok\n{LOAD}", upstream_vhost=f"ok\r\n{LOAD}") == [
        f"InvalidValue Ingress/evil/evil metadata.annotations[{name}]"
        for name in ("canary-by-header-value", "upstream-vhost")
    ]


@BREAKS
def test_cve_2025_1097_auth_tls_match_cn(world: Any, end: str) -> None:
    assert annotated(world, auth_tls_match_cn=f"CN=a)#({end}){{}}{end}){LOAD}")
    assert world.goes("http://evil.example/") == "503"


@BREAKS
def test_cve_2025_1098_mirror_target_and_host(world: Any, end: str) -> None:
    assert len(annotated(world, mirror_target=f"http://x/#;{end}}}{LOAD}", mirror_host=f"ok;{end}{LOAD}")) == 2
    assert world.route("http://evil.example/").mirrors == ()


@BREAKS
def test_cve_2025_24514_auth_url(world: Any, end: str) -> None:
    assert annotated(world, auth_url=f"http://example.com/#;{end}{LOAD}")
    assert world.goes("http://evil.example/") == "503"


def test_cve_2025_1974_validation_opens_and_runs_nothing(world: Any) -> None:
    """The admission controller ran nginx over the object. A translation is a pure function: what its modules may import
    is checked by import-linter, and here the interpreter itself tells of whatever is opened, resolved or run."""
    words = {
        "ssl-ciphers": "ssl_engine /proc/1/fd/7", "auth-proxy-set-headers": "/proc/self/environ",
        "auth-url": "http://localhost/x", "mirror-target": "http://evil.example:1/x", "auth-tls-secret": "evil/x",
        "custom-headers": "environ", "configuration-snippet": LOAD, "rewrite-target": "/$(id)",
    }  # fmt: skip
    world.ingress("evil", "evil.example", ROOT, annotations=words, namespace="evil")
    world.translate()  # whatever is imported late is there now
    with heard() as events:
        world.translate()
    assert events == []
    with heard() as events, pathlib.Path(__file__).open():
        pass
    assert events == ["open"]
    assert world.goes("http://evil.example/") == "503"


_ears: list[list[str]] = []
_LOUD = ("open", "socket.", "subprocess.", "os.", "shutil.", "exec", "import", "ctypes.", "urllib.")


@functools.cache
def _listen() -> None:
    def hear(event: str, _: Any) -> None:
        if _ears and event.startswith(_LOUD):
            _ears[-1].append(event)

    sys.addaudithook(hear)  # for good: an interpreter does not forget one


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """The audit events of files, sockets and processes meanwhile."""
    _listen()
    found: list[str] = []
    _ears.append(found)
    try:
        yield found
    finally:
        _ears.remove(found)


def test_cve_2026_24512_the_path_of_a_rule(world: Any) -> None:
    world.ingress("bystander", "b.example", ROOT)
    world.ingress("evil", "evil.example", (f'/x" {{\n}}\n{LOAD}\nlocation "/y', "ImplementationSpecific", "evil"))
    assert world.goes("http://b.example/") == "web /"
    assert world.problems() == ["InvalidPath Ingress/default/evil spec.rules[0].http.paths[0].path"]
    assert "load_module" not in msgspec.json.encode(world.translate().structure).decode()


@BREAKS
def test_cve_2026_3288_a_rewrite_target(world: Any, end: str) -> None:
    assert annotated(world, rewrite_target=f'/" break; }}{end}{LOAD}') == [
        "InvalidValue Ingress/evil/evil metadata.annotations[rewrite-target]"
    ]


def test_an_alias_never_takes_a_host_that_an_ingress_has(world: Any) -> None:
    world.ingress("evil", "evil.example", ROOT, annotations={"server-alias": "b.example"}, namespace="evil")
    world.ingress("b", "b.example", ("/", "Prefix", "mine"))
    assert world.goes("http://b.example/") == "mine /"


@pytest.mark.timeout(30)
def test_one_invalid_among_a_thousand_harms_only_itself_and_is_told_within_a_second(world: Any) -> None:
    world.service("web", 80)
    for number in range(1000):
        broken = {"whitelist-source-range": "nonsense"} if number == 500 else {}
        world.ingress(f"i{number:04}", f"h{number}.example", ROOT, annotations=broken)
    started = time.process_time()  # a busy machine is not our time
    translation = world.translate()
    took = time.process_time() - started
    told = [problem for problem in translation.problems if problem.object.startswith("Ingress")]
    assert [problem.object for problem in told] == ["Ingress/default/i0500"]
    closed = [
        route.info.object
        for route in translation.structure.routes.values()
        if route.respond and route.respond.status == 503
    ]
    assert closed == ["Ingress/default/i0500"]
    assert took < 1.0
