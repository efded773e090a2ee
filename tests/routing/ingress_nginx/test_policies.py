"""What happens to a request on its way, and which endpoint takes it."""

from typing import Any

import pytest

from fairlead.routing import table, translate

ROOT = ("/", "Prefix", "web")


def route(world: Any, **annotations: str) -> table.Route:
    world.ingress("a", "a.example", ROOT, annotations={k.replace("_", "-"): v for k, v in annotations.items()})
    found: table.Route = world.route("http://a.example/")
    return found


def backend(world: Any, **annotations: str) -> table.Backend:
    found = route(world, **annotations)
    one: table.Backend = world.translate().structure.backends[found.backends[0].backend]
    return one


def test_the_defaults_that_ingress_nginx_has(world: Any) -> None:
    found = route(world)
    assert found.timeouts == table.Timeouts(connect_seconds=5, idle_seconds=60)
    assert found.max_body_bytes == 1024**2
    assert found.retry is not None
    assert (found.retry.attempts, found.retry.on) == (3, ("connect", "reset", "timeout"))
    assert found.backends[0].backend == "default/web:p80/http"


def test_annotations_before_the_configmap_before_the_defaults(world: Any) -> None:
    world.config(proxy_body_size="10m", proxy_read_timeout="120", proxy_connect_timeout="7")
    words = "error http_503 non_idempotent"
    found = route(world, proxy_body_size="0", proxy_read_timeout="3600", proxy_next_upstream=words,
                  proxy_next_upstream_tries="0", proxy_next_upstream_timeout="9")  # fmt: skip
    assert found.max_body_bytes == 0
    assert found.timeouts == table.Timeouts(connect_seconds=7, idle_seconds=3600)
    assert found.retry == table.Retry(
        attempts=100, on=("connect", "reset", "503", "non-idempotent"), budget_percent=100, timeout_seconds=9
    )


def test_next_upstream_off(world: Any) -> None:
    found = route(world, proxy_next_upstream="off")
    assert found.retry == table.Retry(attempts=1, on=(), budget_percent=100)


def test_cors(world: Any) -> None:
    found = route(
        world, enable_cors="true", cors_allow_origin="https://*.example.org:8443, http://b.example",
        cors_allow_methods="GET, POST", cors_allow_credentials="false", cors_max_age="600",
    )  # fmt: skip
    assert found.cors is not None
    assert found.cors.allow_origins == ("https://*.example.org:8443", "http://b.example")
    assert (found.cors.allow_methods, found.cors.allow_credentials, found.cors.max_age_seconds) == (
        ("GET", "POST"),
        False,
        600,
    )
    assert "Authorization" in found.cors.allow_headers


@pytest.mark.parametrize(
    ("annotations", "fields"),
    [
        ({"load_balance": "ewma"}, {"algorithm": "ewma"}),
        ({"load_balance": "round_robin"}, {"algorithm": "round-robin"}),
        ({"upstream_hash_by": "$request_uri"}, {"algorithm": "ring-hash", "hash_on": "uri"}),
        ({"upstream_hash_by": "${http_x_user}-v1$host", "load_balance": "ewma"}, {"hash_on": "header:x-user+hostname"}),
        ({"upstream_hash_by": "$cookie_a", "upstream_hash_by_subset": "true"}, {"hash_on": "cookie:a", "subset": 3}),
        ({"backend_protocol": "GRPC"}, {"protocol": "h2c"}),
        ({"backend_protocol": "HTTPS"}, {"protocol": "https", "tls": table.BackendTls(insecure=True)}),
    ],
    ids=lambda found: " ".join(found),
)
def test_balancing_is_of_the_ingress_alone(world: Any, annotations: dict[str, str], fields: dict[str, Any]) -> None:
    found = backend(world, **annotations)
    assert found.id.startswith("default/web:p80/http@a~")
    assert {name: getattr(found, name) for name in fields} == fields
    world.ingress("b", "b.example", ROOT)
    assert world.route("http://b.example/").backends[0].backend == "default/web:p80/http"


OF_THE_INGRESS = {
    "load_balance": {"load_balance": "ewma"},
    "upstream_hash_by": {"upstream_hash_by": "$request_uri", "upstream_hash_by_subset": "true"},
    "affinity": {"affinity": "cookie", "session_cookie_name": "route"},
}


@pytest.mark.parametrize("word", OF_THE_INGRESS)
def test_with_service_upstream_the_services_own_balancing_decides(world: Any, word: str) -> None:
    world.service("web", 80, sessionAffinity="ClientIP")
    world.services[0]["metadata"]["annotations"] = {"fairlead.dev/algorithm": "maglev"}
    found = backend(world, service_upstream="true", **OF_THE_INGRESS[word])
    assert (found.id, found.algorithm, found.subset) == ("default/web:p80/http", "maglev", 0)
    assert found.affinity == table.Affinity(kind="client")
    assert world.problems() == ["ServiceDecides Ingress/default/a metadata.annotations[service-upstream]"]
    told = next(one for one in world.translate().problems if one.reason == "ServiceDecides")
    assert word.replace("_", "-") in told.message


def test_service_upstream_keeps_how_the_service_is_spoken_to(world: Any) -> None:
    found = backend(world, service_upstream="true", affinity="cookie", backend_protocol="GRPC")
    assert (found.protocol, found.affinity) == ("h2c", None)


def test_service_upstream_of_the_configmap_and_an_ingress_that_says_otherwise(world: Any) -> None:
    world.config(service_upstream="true")
    assert backend(world, affinity="cookie").affinity is None
    world.ingress("b", "b.example", ROOT, annotations={"affinity": "cookie", "service-upstream": "false"})
    assert world.translate().structure.backends[world.route("http://b.example/").backends[0].backend].affinity


@pytest.mark.parametrize(
    "spec",
    [{"selector": None}, {"clusterIP": "None"}, {"clusterIP": "None", "selector": None}],
    ids=["without a selector", "headless", "headless, without a selector"],
)
def test_service_upstream_takes_endpoints_whoever_made_them(world: Any, spec: dict[str, Any]) -> None:
    world.service("web", 80, **spec)
    name = backend(world, service_upstream="true", load_balance="ewma").id
    made = {
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": "by-hand", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "p80", "port": 9000}],
        "endpoints": [{"addresses": ["192.0.2.7"]}, {"addresses": ["192.0.2.8"], "conditions": {"ready": False}}],
    }  # fmt: skip
    sets = {one.backend: one for one in translate.all_endpoints(world.translate(), [made])}
    assert [(one.address, one.port) for one in sets[name].endpoints] == [("192.0.2.7", 9000)]


def test_sticky_sessions(world: Any) -> None:
    found = backend(world, affinity="cookie", session_cookie_name="route", session_cookie_max_age="3600",
                    session_cookie_samesite="Lax", affinity_mode="persistent", session_cookie_path="/app")  # fmt: skip
    assert found.affinity == table.Affinity(
        kind="cookie", cookie="route", max_age_seconds=3600, same_site="Lax", path="/app", change_on_failure=False
    )
    world.ingress(
        "b", "b.example", ROOT, annotations={"affinity": "cookie", "session-cookie-change-on-failure": "true"}
    )
    backends = world.translate().structure.backends
    affinity = backends[world.route("http://b.example/").backends[0].backend].affinity
    assert (affinity.balanced, affinity.change_on_failure) == (True, True)


def test_a_sticky_cookies_path_is_the_locations(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, ("/shop", "Prefix", "web"), annotations={"affinity": "cookie"})
    backends = world.translate().structure.backends
    paths = [
        backends[world.route(f"http://a.example{one}").backends[0].backend].affinity.path for one in ("/", "/shop")
    ]
    assert paths == ["/", "/shop"]


def test_verified_tls_to_the_backend(world: Any) -> None:
    pem = "-----BEGIN CERTIFICATE-----"
    world.secret("tls", ca_crt=pem, tls_crt=pem, tls_key="-----BEGIN PRIVATE KEY-----")
    found = backend(world, backend_protocol="HTTPS", proxy_ssl_secret="default/tls", proxy_ssl_verify="on",
                    proxy_ssl_name="inner.example")  # fmt: skip
    assert found.tls == table.BackendTls(ca_pem=pem, server_name="inner.example", certificate="default/tls")
    assert "default/tls" in world.translate().structure.certificates


def test_headers(world: Any) -> None:
    world.config(
        global_allowed_response_headers="X-Frame-Options", add_headers="infra/added", proxy_set_headers="infra/sent",
        hide_headers="Server",
    )  # fmt: skip
    world.config_map("added", namespace="infra", **{"X-Site": "one"})
    world.config_map("sent", namespace="infra", **{"X-Edge": "fairlead"})
    world.config_map("own", **{"X-Frame-Options": "DENY", "X-Evil": "1"})
    found = route(world, custom_headers="default/own", rewrite_target="/x", x_forwarded_prefix="/app")
    assert found.response_headers is not None
    assert dict(found.response_headers.set) == {"X-Frame-Options": "DENY", "X-Site": "one"}
    assert found.response_headers.remove == ("Server",)
    assert found.request_headers is not None
    assert dict(found.request_headers.set) == {"X-Edge": "fairlead", "X-Forwarded-Prefix": "/app"}
    assert world.problems() == ["NotAllowed Ingress/default/a metadata.annotations[custom-headers]"]


def test_upstream_host_with_fixed_variables(world: Any) -> None:
    found = route(world, upstream_vhost="$service_name.$namespace.svc.cluster.local")
    assert found.rewrite == table.Rewrite(host="web.default.svc.cluster.local")


def test_the_default_backend_answers_for_an_empty_one_and_explains_errors(world: Any) -> None:
    world.service("errors", 8080)
    found = route(world, default_backend="errors", custom_http_errors="404,503")
    assert found.fallback == "default/errors:p8080/http"
    assert found.errors == table.ErrorPages(
        statuses=(404, 503), backend="default/errors:p8080/http",
        headers=(("X-Namespace", "default"), ("X-Ingress-Name", "a"), ("X-Service-Name", "web"),
                 ("X-Service-Port", "80")),
    )  # fmt: skip
    assert world.problems() == []
    assert (
        route(world, default_backend="errors", custom_http_errors="404", disable_proxy_intercept_errors="true").errors
        is None
    )


def test_errors_that_nobody_explains_are_told(world: Any) -> None:
    assert route(world, custom_http_errors="404").errors is None
    assert world.problems() == ["NoDefaultBackend Ingress/default/a metadata.annotations[custom-http-errors]"]


def test_mirror(world: Any) -> None:
    world.service("shadow", 80)
    found = route(world, mirror_target="http://shadow.default.svc.cluster.local$request_uri", mirror_request_body="off")
    assert found.mirrors == (
        table.Mirror(
            backend="default/shadow:p80/http", body=False, host="shadow.default.svc.cluster.local",
            uri=(("variable", "uri"),),
        ),
    )  # fmt: skip
