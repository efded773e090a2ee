"""Ingresses of our own class: policies per Ingress, canaries, names outside, default certificate, the path table."""

from typing import Any

import msgspec
import pytest

from fairlead.routing import outcome, settings, table, translate

PREFIX = "fairlead.dev/"


def service(name: str, **spec: Any) -> dict[str, Any]:
    annotations = spec.pop("annotations", {})
    meta = {"namespace": "default", "name": name, "annotations": {PREFIX + k: v for k, v in annotations.items()}}
    address = f"127.96.0.{sum(map(ord, name)) % 250 + 1}"
    return {"kind": "Service", "metadata": meta, "spec": {"clusterIP": address, "ports": [{"port": 80}], **spec}}


def ingress(name: str, *paths: tuple[str, str, str], host: str = "a.example", **annotations: str) -> dict[str, Any]:
    backends = [
        {"path": path, "pathType": kind, "backend": {"service": {"name": to, "port": {"number": 80}}}}
        for path, kind, to in paths
    ]
    words = {PREFIX + key.replace("_", "-"): value for key, value in annotations.items()}
    rules = [{"host": host, "http": {"paths": backends}}]
    return {
        "kind": "Ingress",
        "metadata": {"namespace": "default", "name": name, "annotations": words},
        "spec": {"rules": rules},
    }


def translated(*objects: dict[str, Any], **where: Any) -> translate.Translation:
    kinds = {"Service": "services", "Ingress": "ingresses"}
    fields: dict[str, list[dict[str, Any]]] = {}
    for one in objects:
        fields.setdefault(kinds[one["kind"]], []).append(one)
    return translate.translate(translate.Snapshot(**fields), settings.Settings(**where))


def shares(translation: translate.Translation, uri: str = "/", **headers: str) -> dict[str, int]:
    request = outcome.Request(host="a.example", uri=uri, headers=headers)
    found = outcome.of(translation.structure, "edge-http", request)
    return {name.partition("/")[2].partition(":")[0]: weight for name, weight in found.backends}


def test_a_policy_of_an_ingress_is_on_top_of_its_services_and_its_own_alone() -> None:
    translation = translated(
        service("web", annotations={"slow-start-seconds": "5", "connect-timeout-seconds": "2"}),
        ingress("plain", ("/", "Prefix", "web"), host="b.example"),
        ingress(
            "own", ("/", "Prefix", "web"), algorithm="maglev", hash_on="header:X-User", request_timeout_seconds="9"
        ),
    )
    backends = translation.structure.backends
    [own] = [one for name, one in backends.items() if name.startswith("default/web:80/http@own~")]
    assert (own.algorithm, own.hash_on, own.slow_start_seconds) == ("maglev", "header:X-User", 5)
    assert own.timeouts == table.Timeouts(connect_seconds=2, request_seconds=9)
    assert backends["default/web:80/http"].algorithm == ""
    assert [one.backend for one in translation.sources["default/web"]].count(own.id) == 1


def test_no_timeout_at_all_is_another_thing_than_none_told() -> None:
    translation = translated(service("web"), ingress("own", ("/", "Prefix", "web"), request_timeout_seconds="0"))
    [own] = [one for one in translation.structure.backends.values() if one.timeouts is not None]
    assert own.timeouts == table.Timeouts(request_seconds=0)
    assert msgspec.json.decode(msgspec.json.encode(own))["timeouts"] == {"request_seconds": 0.0}


def test_a_wrong_policy_word_is_told_and_the_rest_works() -> None:
    translation = translated(service("web"), ingress("a", ("/", "Prefix", "web"), algorithm="magic", colour="blue"))
    assert shares(translation) == {"web": 1}
    assert sorted(p.path for p in translation.problems) == [
        f"metadata.annotations[{PREFIX}algorithm]",
        f"metadata.annotations[{PREFIX}colour]",
    ]


def canary(**annotations: str) -> translate.Translation:
    return translated(
        service("web"), service("next"), ingress("main", ("/", "Prefix", "web")),
        ingress("next", ("/", "Prefix", "next"), canary="true", **annotations),
    )  # fmt: skip


def test_canary_by_weight() -> None:
    assert shares(canary(canary_weight="5")) == {"web": 95, "next": 5}


def test_canary_by_header_cookie_and_value() -> None:
    both = canary(canary_header="X-Next", canary_cookie="next")
    assert [list(shares(both, **{"x-next": one})) for one in ("always", "never", "x")] == [["next"], ["web"], ["web"]]
    assert list(shares(both, cookie="a=b; next=always")) == ["next"]
    valued = canary(canary_header="X-Next=beta")
    assert [list(shares(valued, **{"x-next": one})) for one in ("beta", "always")] == [["next"], ["web"]]


@pytest.mark.parametrize(
    ("annotations", "path"),
    [
        ({"canary": "true"}, "canary"),
        ({"canary": "true", "canary_weight": "101"}, "canary-weight"),
        ({"canary_weight": "10"}, "canary-weight"),
        ({"canary": "true", "canary_header": "X Y"}, "canary-header"),
    ],
)
def test_a_canary_that_says_nothing_sensible_is_told(annotations: dict[str, str], path: str) -> None:
    translation = translated(
        service("web"), service("next"), ingress("main", ("/", "Prefix", "web")),
        ingress("next", ("/", "Prefix", "next"), **annotations),
    )  # fmt: skip
    assert f"metadata.annotations[{PREFIX}{path}]" in {problem.path for problem in translation.problems}
    assert shares(translation) == {"web": 1} or shares(translation) == {"web": 100}


def test_a_canary_without_a_main_ingress_serves_nobody() -> None:
    translation = translated(
        service("next"), ingress("next", ("/", "Prefix", "next"), canary="true", canary_weight="50")
    )
    assert shares(translation) == {}
    assert [problem.reason for problem in translation.problems] == ["NoMainIngress"]


def test_an_external_name_is_a_backend_that_the_engine_resolves() -> None:
    translation = translated(
        service("outside", type="ExternalName", externalName="api.example.org"),
        service("inside", type="ExternalName", externalName="127.0.0.1"),
        ingress("a", ("/", "Prefix", "outside"), ("/in", "Prefix", "inside")),
    )
    assert translation.structure.backends["@external/api.example.org:80"].resolve == "api.example.org:80"
    assert [(p.reason, p.path) for p in translation.problems if p.object.startswith("Ingress")] == [
        ("ForbiddenName", "spec.rules[0].http.paths[1].backend")
    ]


def test_the_default_certificate_opens_the_https_door() -> None:
    default = table.Certificate(id="@default", chain_pem="chain", key_pem="key")
    translation = translated(service("web"), ingress("a", ("/", "Prefix", "web")), default_certificate=default)
    assert translation.structure.listeners["edge-https"].certificates == ("@default",)
    assert outcome.of(translation.structure, "edge-https", outcome.Request(host="a.example")).backends
    assert "key" not in repr(translation.settings).replace("key_pem", "")


#: the table "Examples" of the Ingress documentation: kind, paths, request path, which path matches
SPECIFIED = [
    ("Prefix", ["/"], "/anything", "/"), ("Exact", ["/foo"], "/foo", "/foo"), ("Exact", ["/foo"], "/bar", None),
    ("Exact", ["/foo"], "/foo/", None), ("Exact", ["/foo/"], "/foo", None), ("Prefix", ["/foo"], "/foo", "/foo"),
    ("Prefix", ["/foo"], "/foo/", "/foo"), ("Prefix", ["/foo/"], "/foo", "/foo/"),
    ("Prefix", ["/foo/"], "/foo/", "/foo/"),
    ("Prefix", ["/aaa/bb"], "/aaa/bbb", None), ("Prefix", ["/aaa/bbb"], "/aaa/bbb", "/aaa/bbb"),
    ("Prefix", ["/aaa/bbb/"], "/aaa/bbb", "/aaa/bbb/"), ("Prefix", ["/aaa/bbb"], "/aaa/bbb/", "/aaa/bbb"),
    ("Prefix", ["/aaa/bbb"], "/aaa/bbb/ccc", "/aaa/bbb"), ("Prefix", ["/aaa/bbb"], "/aaa/bbbxyz", None),
    ("Prefix", ["/", "/aaa"], "/aaa/ccc", "/aaa"), ("Prefix", ["/", "/aaa", "/aaa/bbb"], "/aaa/bbb", "/aaa/bbb"),
    ("Prefix", ["/", "/aaa", "/aaa/bbb"], "/ccc", "/"), ("Prefix", ["/aaa"], "/ccc", None),
]  # fmt: skip
#: the two rows of it that mix kinds, and the table of hosts
MIXED = [("/foo", "/foo", "exact"), ("/foo", "/foo/", "prefix")]
HOSTS = [
    ("*.foo.com", "bar.foo.com", True), ("*.foo.com", "baz.bar.foo.com", False), ("*.foo.com", "foo.com", False),
    ("foo.bar.com", "foo.bar.com", True), ("foo.bar.com", "bar.com", False), ("", "any.thing", True),
    ("*.foo.com", "BAR.foo.COM", True), ("foo.bar.com", "foo.bar.com:8080", True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "paths", "asked", "wanted"), SPECIFIED)
def test_the_path_table_of_the_ingress_specification(
    kind: str, paths: list[str], asked: str, wanted: str | None
) -> None:
    names = {path: f"s{number}" for number, path in enumerate(paths)}
    objects = [service(name) for name in names.values()]
    translation = translated(*objects, ingress("a", *((path, kind, name) for path, name in names.items())))
    assert list(shares(translation, asked)) == ([names[wanted]] if wanted else [])


@pytest.mark.parametrize(("path", "asked", "wanted"), MIXED)
def test_exact_goes_before_prefix(path: str, asked: str, wanted: str) -> None:
    translation = translated(
        service("exact"), service("prefix"), ingress("a", (path, "Prefix", "prefix"), (path, "Exact", "exact"))
    )
    assert list(shares(translation, asked)) == [wanted]


@pytest.mark.parametrize(("host", "asked", "matches"), HOSTS)
def test_the_host_table_of_the_ingress_specification(host: str, asked: str, matches: bool) -> None:
    translation = translated(service("web"), ingress("a", ("/", "Prefix", "web"), host=host))
    found = outcome.of(translation.structure, "edge-http", outcome.Request(host=asked))
    assert bool(found.backends) == matches


@pytest.mark.parametrize("host", ["**.foo.com", "*", "a_b.com", "x..y", "1.2.3.4", "*.*.com", "a b"])
def test_a_host_that_is_no_name_is_told_and_serves_nothing(host: str) -> None:
    translation = translated(service("web"), ingress("a", ("/", "Prefix", "web"), host=host))
    assert [problem.reason for problem in translation.problems] == ["InvalidHost"]
    assert not any(route.id.startswith("Ingress") for route in translation.structure.routes.values())
