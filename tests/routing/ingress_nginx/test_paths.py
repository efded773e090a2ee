"""Which Service a path goes to, as ingress-nginx users rely on it."""

from typing import Any

import pytest


def test_prefix_matches_elements_and_exact_only_itself(world: Any) -> None:
    world.ingress("a", "a.example", ("/foo", "Prefix", "foo"), ("/bar", "Exact", "bar"))
    assert world.goes("http://a.example/foo") == "foo /foo"
    assert world.goes("http://a.example/foo/x?y=1") == "foo /foo/x?y=1"
    assert world.goes("http://a.example/foobar") == "404"
    assert world.goes("http://a.example/bar") == "bar /bar"
    assert world.goes("http://a.example/bar/") == "404"


def test_implementation_specific_is_a_prefix_of_characters(world: Any) -> None:
    world.ingress("a", "a.example", ("/foo", "ImplementationSpecific", "foo"), ("/foobar/x", "Prefix", "x"))
    assert world.goes("http://a.example/foobar") == "foo /foobar"
    assert world.goes("http://a.example/foobar/x/y") == "x /foobar/x/y"
    assert world.goes("http://a.example/FOO") == "404"


def test_a_location_with_a_slash_redirects_to_it(world: Any) -> None:
    world.ingress("a", "a.example", ("/foo/", "ImplementationSpecific", "foo"))
    assert world.goes("http://a.example/foo") == "301 http://a.example/foo/"
    assert world.goes("http://a.example/foo/x") == "foo /foo/x"


def test_use_regex_is_a_prefix_without_case(world: Any) -> None:
    world.ingress("a", "a.example", (r"/item/\d+", "ImplementationSpecific", "item"), annotations={"use-regex": "true"})
    assert world.goes("http://a.example/item/42/details") == "item /item/42/details"
    assert world.goes("http://a.example/ITEM/42") == "item /ITEM/42"
    assert world.goes("http://a.example/x/item/42") == "404"


def test_one_regex_ingress_makes_all_paths_of_its_host_regular_expressions(world: Any) -> None:
    world.ingress("a", "a.example", ("/exact", "Exact", "exact"), ("/pre", "Prefix", "pre"))
    world.ingress("other", "b.example", ("/exact", "Exact", "exact"))
    assert world.goes("http://a.example/EXACT/more") == "404"
    world.ingress(
        "b", "a.example", ("/r.x", "ImplementationSpecific", "rx"), annotations={"use-regex": "true"}, namespace="team"
    )
    assert world.goes("http://a.example/EXACT/more") == "exact /EXACT/more"
    assert world.goes("http://a.example/prefix") == "pre /prefix"
    assert world.goes("http://b.example/EXACT/more") == "404"


def test_rewrite_target_implies_a_regex_and_takes_groups(world: Any) -> None:
    world.ingress(
        "a", "a.example", ("/api(/|$)(.*)", "ImplementationSpecific", "api"), annotations={"rewrite-target": "/$2"}
    )
    assert world.goes("http://a.example/api") == "api /"
    assert world.goes("http://a.example/API/v1?x=1") == "api /v1?x=1"
    assert world.goes("http://a.example/apiary") == "404"


def test_a_rewrite_without_groups_replaces_the_whole_path(world: Any) -> None:
    world.ingress("a", "a.example", ("/foo", "Prefix", "foo"), annotations={"rewrite-target": "/"})
    assert world.goes("http://a.example/foo/bar") == "foo /"
    assert world.goes("http://a.example/foobar") == "foo /"


def test_a_rewrite_to_the_path_itself_is_none(world: Any) -> None:
    world.ingress("root", "a.example", ("/", "Prefix", "root"))  # else the host's own / would be rewritten to /foo
    world.ingress("a", "a.example", ("/foo", "Prefix", "foo"), annotations={"rewrite-target": "/foo"})
    assert world.goes("http://a.example/foo/bar") == "foo /foo/bar"
    assert world.goes("http://a.example/foobar") == "root /foobar"


def test_of_regular_expressions_the_longest_path_goes_first(world: Any) -> None:
    """The documentation's own warning: a shorter plain path loses to a longer expression."""
    world.ingress(
        "a", "test.com", ("/foo/bar/bar", "ImplementationSpecific", "plain"),
        ("/foo/bar/[A-Z0-9]{3}", "ImplementationSpecific", "expression"), annotations={"use-regex": "true"},
    )  # fmt: skip
    assert world.goes("http://test.com/foo/bar/bar") == "expression /foo/bar/bar"


def test_the_documentations_priority_example(world: Any) -> None:
    world.ingress("1", "test.com", ("/foo/bar", "Prefix", "service1"), ("/foo/bar/", "Prefix", "service2"))
    world.ingress(
        "2", "test.com", ("/foo/bar/(.+)", "ImplementationSpecific", "service3"), annotations={"rewrite-target": "/$1"}
    )
    assert world.goes("http://test.com/foo/bar/1") == "service3 /1"
    assert world.goes("http://test.com/foo/bar/") == "service2 /foo/bar/"
    assert world.goes("http://test.com/foo/bar") == "service1 /foo/bar"


def test_an_alternative_is_not_anchored_as_in_nginx(world: Any) -> None:
    world.ingress("a", "a.example", ("/a|/b", "ImplementationSpecific", "ab"), annotations={"use-regex": "true"})
    assert world.goes("http://a.example/x/b") == "ab /x/b"


def test_ingresses_share_a_host_and_the_oldest_keeps_an_equal_path(world: Any) -> None:
    world.ingress("old", "a.example", ("/x", "Prefix", "old"))
    world.ingress("new", "a.example", ("/x", "Prefix", "new"), ("/y", "Prefix", "new"))
    assert world.goes("http://a.example/x") == "old /x"
    assert world.goes("http://a.example/y") == "new /y"
    assert world.problems() == ["Conflict Ingress/default/new spec.rules[0].http.paths[0]"]


def test_a_host_without_a_root_answers_404_itself(world: Any) -> None:
    world.ingress("all", "", ("/", "Prefix", "everything"))
    world.ingress("a", "a.example", ("/x", "Prefix", "x"))
    assert world.goes("http://a.example/other") == "404"
    assert world.goes("http://b.example/other") == "everything /other"


def test_default_backends(world: Any) -> None:
    world.service("fallback")
    backend = {"service": {"name": "fallback", "port": {"number": 80}}}
    world.ingress("a", "a.example", ("/x", "Prefix", "x"), defaultBackend=backend)
    assert world.goes("http://a.example/other") == "fallback /other"
    assert world.goes("http://b.example/other") == "404"
    world.ingress("all", "", defaultBackend=backend)
    assert world.goes("http://b.example/other") == "fallback /other"


def test_a_wildcard_is_one_label_and_exact_hosts_go_first(world: Any) -> None:
    world.ingress("wild", "*.example", ("/", "Prefix", "wild"))
    world.ingress("one", "one.example", ("/only", "Prefix", "one"))
    assert world.goes("http://two.example/") == "wild /"
    assert world.goes("http://a.two.example/") == "404"
    assert world.goes("http://one.example/else") == "404"


def test_aliases_share_the_host(world: Any) -> None:
    world.ingress("b", "b.example", ("/", "Prefix", "b"))
    world.ingress("a", "a.example", ("/", "Prefix", "a"), annotations={"server-alias": "c.example, b.example"})
    assert world.goes("http://c.example/") == "a /"
    assert world.goes("http://b.example/") == "b /"
    assert world.problems() == ["Conflict Ingress/default/a metadata.annotations[server-alias]"]


def test_ports_by_name_and_what_leads_nowhere(world: Any) -> None:
    world.service("named", 8080)
    paths = [
        {"path": "/named", "pathType": "Prefix", "backend": {"service": {"name": "named", "port": {"name": "p8080"}}}},
        {"path": "/no-port", "pathType": "Prefix", "backend": {"service": {"name": "named", "port": {"number": 1}}}},
        {"path": "/nobody", "pathType": "Prefix", "backend": {"service": {"name": "nobody", "port": {"number": 80}}}},
        {"path": "/resource", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "x"}}},
    ]
    world.ingress("a", "a.example", rules=[{"host": "a.example", "http": {"paths": paths}}])
    assert world.goes("http://a.example/named") == "named /named"
    assert [world.goes(f"http://a.example/{one}") for one in ("no-port", "nobody", "resource")] == ["503"] * 3
    place = "Ingress/default/a spec.rules[0].http.paths"
    assert world.problems() == [
        f"PortNotFound {place}[1].backend.service.port", f"BackendNotFound {place}[2].backend",
        f"UnsupportedBackend {place}[3].backend",
    ]  # fmt: skip


def test_an_external_name_is_resolved_by_the_engine(world: Any) -> None:
    world.service("outside", 80, type="ExternalName", externalName="api.example.org", clusterIP=None)
    world.service("self", 80, type="ExternalName", externalName="localhost", clusterIP=None)
    world.ingress("a", "a.example", ("/", "Prefix", "outside"), ("/self", "Prefix", "self"))
    backend = world.translate().structure.backends[world.ask("http://a.example/").backends[0][0]]
    assert backend.resolve == "api.example.org:80"
    assert world.goes("http://a.example/self") == "503"
    assert world.problems() == ["ForbiddenName Ingress/default/a spec.rules[0].http.paths[1].backend"]


@pytest.mark.parametrize(
    "path",
    [
        "/(",
        "/a(?=b)",
        r"/(a)\1",
        "/a{1,2000}",
        "/x++",
        "/x{,5}",
        "/[a&&b]",
        "/[[a]",
        r"/\012",
        "/(?a:x)",
        "/(?<n>x)",
        "/" + "a" * 2000,
    ],
)
def test_a_path_that_is_no_carried_expression_is_refused_alone(world: Any, path: str) -> None:
    world.ingress(
        "a",
        "a.example",
        (path, "ImplementationSpecific", "bad"),
        ("/ok", "Prefix", "ok"),
        annotations={"use-regex": "true"},
    )
    assert world.goes("http://a.example/ok") == "ok /ok"
    assert world.goes("http://a.example/a") == "404"
    assert world.problems() == ["InvalidPath Ingress/default/a spec.rules[0].http.paths[0].path"]
