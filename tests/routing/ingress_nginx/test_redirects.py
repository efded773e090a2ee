"""Redirects: to TLS, to other places, to the application's root, between a domain and its www."""

from typing import Any

ROOT = ("/", "Prefix", "web")


def test_tls_redirects_with_308_to_the_https_door(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, tls=True)
    assert world.goes("http://a.example/x?y=1") == "308 https://a.example:8443/x?y=1"
    assert world.goes("https://a.example/x?y=1") == "web /x?y=1"


def test_without_tls_both_doors_serve(world: Any) -> None:
    world.ingress("a", "a.example", ROOT)
    assert world.goes("http://a.example/") == "web /"
    assert world.goes("https://a.example/") == "web /"


def test_ssl_redirect_can_be_off_for_one_ingress_and_for_all(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, tls=True, annotations={"ssl-redirect": "false"})
    world.ingress("b", "b.example", ROOT, tls=True)
    assert world.goes("http://a.example/") == "web /"
    assert world.goes("http://b.example/").startswith("308")
    world.config(ssl_redirect="false", http_redirect_code="301")
    assert world.goes("http://b.example/") == "web /"


def test_force_ssl_redirect_needs_no_tls_and_knows_a_proxy_in_front(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, annotations={"force-ssl-redirect": "true"})
    assert world.goes("http://a.example/") == "308 https://a.example:8443/"
    world.config(use_forwarded_headers="true")
    assert world.goes("http://a.example/", headers={"x-forwarded-proto": "https"}) == "web /"
    assert world.goes("http://a.example/", headers={"x-forwarded-proto": "http"}).startswith("308")


def test_certificate_challenges_are_not_redirected(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, ("/.well-known/acme-challenge/token", "Exact", "solver"), tls=True)
    assert world.goes("http://a.example/.well-known/acme-challenge/token").startswith("solver")
    assert world.goes("http://a.example/").startswith("308")


def test_tls_answers_carry_strict_transport_security(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, tls=True, annotations={"ssl-redirect": "false"})
    headers = world.route("https://a.example/").response_headers
    assert headers.set == (("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),)
    assert world.route("http://a.example/").response_headers is None
    world.config(hsts="false")
    assert world.route("https://a.example/").response_headers is None


def test_permanent_and_temporal_redirects(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, annotations={"permanent-redirect": "https://new.example$request_uri"})
    world.ingress(
        "b",
        "b.example",
        ROOT,
        annotations={"permanent-redirect": "https://new.example/", "permanent-redirect-code": "308"},
    )
    world.ingress("c", "c.example", ROOT, annotations={"temporal-redirect": "$scheme://new.example/$host"})
    assert world.goes("http://a.example/x?y=1") == "301 https://new.example/x?y=1"
    assert world.goes("http://b.example/x") == "308 https://new.example/"
    assert world.goes("http://c.example:8080/x") == "302 http://new.example/c.example"


def test_app_root(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, annotations={"app-root": "/app"})
    assert world.goes("http://a.example:8080/?x=1") == "302 http://a.example:8080/app"
    assert world.goes("http://a.example/other") == "web /other"


def test_from_to_www(world: Any) -> None:
    world.ingress("a", "a.example", ROOT, annotations={"from-to-www-redirect": "true"})
    world.ingress("b", "www.b.example", ROOT, annotations={"from-to-www-redirect": "true"})
    assert world.goes("http://www.a.example/x?y=1") == "308 http://a.example/x?y=1"
    assert world.goes("http://b.example/x") == "308 http://www.b.example/x"
    world.ingress("own", "www.a.example", ROOT)
    assert world.goes("http://www.a.example/x") == "web /x"
