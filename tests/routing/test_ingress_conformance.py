"""The features of kubernetes-sigs/ingress-controller-conformance, scenario by scenario, for both of our classes.

Path rules are every row of the Ingress documentation's table, too, which test_ingress_strategies.py and the golden
ingress-path-table have for our own class. Load balancing is proved with the engine (tests/system/
test_ingress_nginx_walk.py).
"""

from typing import Any

import pytest

from fairlead.routing import outcome, settings, table, translate
from tests.routing import test_ingress_strategies

CLASSES = ("fairlead", "nginx")
WHERE = settings.Settings(
    ingress_nginx=True, check_certificates=False,
    default_certificate=table.Certificate(id="@default", chain_pem="c", key_pem="k"),
)  # fmt: skip


def service(name: str) -> dict[str, Any]:
    address = f"127.96.3.{sum(map(ord, name)) % 250 + 1}"
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": address, "ports": [{"port": 3000}]},
    }


def backend(name: str) -> dict[str, Any]:
    return {"service": {"name": name, "port": {"number": 3000}}}


def rule(host: str, *paths: tuple[str, str, str]) -> dict[str, Any]:
    those = [{"path": path, "pathType": kind, "backend": backend(name)} for path, kind, name in paths]
    return {"host": host, "http": {"paths": those}}


def served(spec: dict[str, Any], *urls: str) -> list[str]:
    """The Service, or the status, of each URL."""
    names = {"echo", "foo-exact", "foo-prefix", "wildcard", "single", "fallback"}
    ingress = {"metadata": {"namespace": "default", "name": "i"}, "spec": spec}
    snapshot = translate.Snapshot(services=[service(name) for name in sorted(names)], ingresses=[ingress])
    made = translate.translate(snapshot, WHERE).structure
    answers = []
    for url in urls:
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        found = outcome.of(made, f"edge-{scheme}", outcome.Request(host=host, uri=slash + path or "/", scheme=scheme))
        answers.append(str(found.status) if found.status else found.backends[0][0].partition("/")[2].partition(":")[0])
    return answers


@pytest.mark.parametrize("named", CLASSES)
@pytest.mark.parametrize("url", ["http://any.host/", "http://other/some/path?q=1", "https://10.0.0.1/x"])
def test_default_backend_serves_every_host_and_path(named: str, url: str) -> None:
    assert served({"ingressClassName": named, "defaultBackend": backend("fallback")}, url) == ["fallback"]


@pytest.mark.parametrize("named", CLASSES)
def test_host_rules(named: str) -> None:
    rules = [rule("*.foo.com", ("/", "Prefix", "wildcard")), rule("foo.bar.com", ("/", "Prefix", "single"))]
    asked = {
        "http://bar.foo.com/": "wildcard",  # one label
        "http://baz.bar.foo.com/": "404",  # not two
        "http://foo.com/": "404",  # not none
        "http://foo.bar.com/": "single",
        "http://wrong.bar.com/": "404",
        "https://foo.bar.com/": "single",
    }
    assert served({"ingressClassName": named, "rules": rules}, *asked) == list(asked.values())


@pytest.mark.parametrize("named", CLASSES)
def test_host_rules_with_tls_are_served_over_https(named: str) -> None:
    spec = {
        "ingressClassName": named,
        "tls": [{"hosts": ["foo.bar.com"], "secretName": "conformance-tls"}],
        "rules": [rule("foo.bar.com", ("/", "Prefix", "single"))],
    }
    assert served(spec, "https://foo.bar.com/") == ["single"]


def test_an_ingress_of_a_class_that_is_nobodys_is_not_served() -> None:
    spec = {"ingressClassName": "some-invalid-class-name", "rules": [rule("", ("/", "Prefix", "echo"))]}
    assert served(spec, "http://any/") == ["404"]


#: path_rules.feature: the paths of a host, and what each request path leads to
FEATURES = {
    "exact": ([("/foo", "Exact", "foo-exact")], {"/foo": "foo-exact", "/foo/": "404", "/FOO": "404", "/bar": "404"}),
    "prefix": (
        [("/foo", "Prefix", "foo-prefix"), ("/aaa/bbb", "Prefix", "single"), ("/aaa", "Prefix", "echo")],
        {
            "/foo": "foo-prefix", "/foo/": "foo-prefix", "/FOO": "404", "/aaa/bbb": "single", "/aaa/bbb/ccc": "single",
            "/aaa/ccc": "echo", "/aaaccc": "404",
        },
    ),
    "mixed": ([("/foo", "Prefix", "foo-prefix"), ("/foo", "Exact", "foo-exact")], {"/foo": "foo-exact"}),
    "trailing slash": (
        [("/aaa/bbb/", "Prefix", "single"), ("/foo/", "Exact", "foo-exact")],
        {"/aaa/bbb": "single", "/aaa/bbb/": "single", "/foo": "404"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("named", CLASSES)
@pytest.mark.parametrize("feature", FEATURES)
def test_path_rules(named: str, feature: str) -> None:
    paths, asked = FEATURES[feature]
    spec = {"ingressClassName": named, "rules": [rule("h", *paths)]}
    assert served(spec, *(f"http://h{path}" for path in asked)) == list(asked.values())


@pytest.mark.parametrize("named", CLASSES)
@pytest.mark.parametrize(("kind", "paths", "asked", "wanted"), test_ingress_strategies.SPECIFIED)
def test_the_path_table_of_the_documentation(
    named: str, kind: str, paths: list[str], asked: str, wanted: str | None
) -> None:
    names = dict(zip(paths, ("echo", "single", "wildcard"), strict=False))
    spec = {
        "ingressClassName": named,
        "rules": [rule("h", *((path, kind, name) for path, name in names.items()))],
        "defaultBackend": backend("fallback"),
    }
    assert served(spec, f"http://h{asked}") == [names[wanted] if wanted else "fallback"]


@pytest.mark.parametrize("named", CLASSES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_default_backend_serves_every_method(named: str, method: str) -> None:
    ingress = {
        "metadata": {"namespace": "default", "name": "i"},
        "spec": {"ingressClassName": named, "defaultBackend": backend("echo")},
    }
    made = translate.translate(translate.Snapshot(services=[service("echo")], ingresses=[ingress]), WHERE).structure
    for host in ("my-host", ""):
        found = outcome.of(made, "edge-http", outcome.Request(host=host, uri="/resource", method=method))
        assert [name for name, _ in found.backends] == ["default/echo:3000/http"]


@pytest.mark.parametrize("named", CLASSES)
def test_path_rules_exact_before_prefix_and_case_is_kept(named: str) -> None:
    paths = [("/foo", "Prefix", "foo-prefix"), ("/foo", "Exact", "foo-exact"), ("/aaa/bbb", "Prefix", "echo")]
    asked = {
        "http://h/foo": "foo-exact", "http://h/foo/": "foo-prefix", "http://h/foo/bar": "foo-prefix",
        "http://h/FOO": "404", "http://h/foobar": "404", "http://h/aaa/bbb/ccc": "echo", "http://h/aaa/bbbccc": "404",
    }  # fmt: skip
    assert served({"ingressClassName": named, "rules": [rule("h", *paths)]}, *asked) == list(asked.values())


@pytest.mark.parametrize("named", CLASSES)
def test_the_load_balancers_address_is_published(named: str) -> None:
    ingress = {
        "metadata": {"namespace": "default", "name": "i"},
        "spec": {"ingressClassName": named, "defaultBackend": backend("echo")},
    }
    translation = translate.translate(translate.Snapshot(services=[service("echo")], ingresses=[ingress]), WHERE)
    [status] = [one for one in translation.statuses if one.kind == "Ingress"]
    assert status.status["loadBalancer"]["ingress"][0]["ip"] == "127.0.0.1"
