"""Who answers a request: the precedence of Ingress, as tables of cases (the examples of Kubernetes' documentation)."""

import pytest

from fairlead.routing import interpret, table

PATHS = [
    # kind, path of the rule, path asked, matches
    ("prefix", "/", "/any/path", True),
    ("exact", "/foo", "/foo", True),
    ("exact", "/foo", "/bar", False),
    ("exact", "/foo", "/foo/", False),
    ("exact", "/foo/", "/foo", False),
    ("prefix", "/foo", "/foo", True),
    ("prefix", "/foo", "/foo/", True),
    ("prefix", "/foo/", "/foo", True),
    ("prefix", "/foo/", "/foo/", True),
    ("prefix", "/aaa/bb", "/aaa/bbb", False),
    ("prefix", "/aaa/bbb", "/aaa/bbb", True),
    ("prefix", "/aaa/bbb/", "/aaa/bbb", True),
    ("prefix", "/aaa/bbb", "/aaa/bbb/", True),
    ("prefix", "/aaa/bbb", "/aaa/bbb/ccc", True),
    ("prefix", "/aaa/bbb", "/aaa/bbbxyz", False),
    ("regex", "/v[0-9]+", "/v2/items", True),
]


@pytest.mark.parametrize(("kind", "rule", "asked", "expected"), PATHS)
def test_paths(kind, rule, asked, expected):
    assert interpret.path_matches(table.PathMatch(type=kind, value=rule), asked) is expected


HOSTS = [
    ("*.foo.com", "bar.foo.com", True),
    ("*.foo.com", "baz.bar.foo.com", False),
    ("*.foo.com", "foo.com", False),
    ("**.foo.com", "baz.bar.foo.com", True),
    ("**.foo.com", "foo.com", False),
    ("foo.com", "FOO.com:8080", True),
]


@pytest.mark.parametrize(("rule", "asked", "expected"), HOSTS)
def test_hosts(rule, asked, expected):
    structure = routes(route("only", rule, "/"))
    found = interpret.http(structure, "edge", interpret.HttpRequest(host=asked))
    assert (found is not None) is expected


def route(name, host, path, kind="prefix", order=0):
    match = table.Match(path=table.PathMatch(type=kind, value=path))
    return table.Route(id=name, listeners=("edge",), hosts=(host,) if host else (), match=match, order=order)


def routes(*every):
    return table.Structure(routes={one.id: one for one in every})


ORDER = [
    ("a.com", "/x/y", "exact-host"),  # an exact host comes before a wildcard with a better path
    ("b.com", "/x/y/z", "none-exact"),  # Exact before Prefix
    ("b.com", "/x/y", "none-long"),  # the longest prefix
    ("b.com", "/other", "none-short"),
    ("c.a.com", "/x/y", "wild"),
]


@pytest.mark.parametrize(("host", "path", "expected"), ORDER)
def test_precedence(host, path, expected):
    structure = routes(
        route("none-short", "", "/"),
        route("none-long", "", "/x/y"),
        route("none-exact", "", "/x/y/z", "exact"),
        route("wild", "*.a.com", "/"),
        route("exact-host", "a.com", "/"),
    )
    found = interpret.http(structure, "edge", interpret.HttpRequest(host=host, path=path))
    assert found.id == expected


def test_the_smaller_order_settles_equals():
    structure = routes(route("young", "a.com", "/", order=2), route("old", "a.com", "/", order=1))
    assert interpret.http(structure, "edge", interpret.HttpRequest(host="a.com")).id == "old"


def test_no_rule_is_no_route():
    assert interpret.http(routes(route("r", "a.com", "/")), "edge", interpret.HttpRequest(host="b.com")) is None
