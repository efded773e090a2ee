"""Who may come in: what guards is never silently open."""

from typing import Any

import pytest

from fairlead.routing import table
from fairlead.routing.ingress_nginx import access, catalogue, objects

ROOT = ("/", "Prefix", "web")
SHA = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
HASH = "$apr1$abcdefgh$0123456789012345678901"
CA = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"


def guarded(world: Any, **annotations: str) -> None:
    world.ingress("a", "a.example", ROOT, annotations={k.replace("_", "-"): v for k, v in annotations.items()})


def test_source_ranges(world: Any) -> None:
    guarded(world, whitelist_source_range="10.0.0.0/8, 192.0.2.7", denylist_source_range="10.1.0.0/16")
    clients = ("10.2.3.4", "192.0.2.7", "10.1.2.3", "8.8.8.8", "2001:db8::1")
    assert [world.goes("http://a.example/", client=one) for one in clients] == ["web /"] * 2 + ["403"] * 3


def test_the_annotation_overrides_the_configmap_and_blocks_add_up(world: Any) -> None:
    world.config(whitelist_source_range="10.0.0.0/8", block_cidrs="11.1.0.0/16")
    guarded(world, allowlist_source_range="11.0.0.0/8")
    assert [world.goes("http://a.example/", client=one) for one in ("10.0.0.1", "11.0.0.1", "11.1.0.1")] == [
        "403",
        "web /",
        "403",
    ]


@pytest.mark.parametrize(
    "annotations",
    [
        {"whitelist_source_range": "everyone"},
        {"auth_type": "digest", "auth_secret": "users"},
        {"auth_type": "basic"},
        {"auth_type": "basic", "auth_secret": "missing"},
        {"auth_type": "basic", "auth_secret": "elsewhere/users"},
        {"auth_type": "basic", "auth_secret": "plain"},
        {"auth_url": "file:///etc/passwd"},
        {"auth_url": "http://auth.default.svc.cluster.local/check"},
        {"auth_url": "http://web.default.svc.cluster.local:99/check"},
        {"auth_url": "http://localhost/check"},
        {"auth_url": "http://169.254.169.254/latest"},
        {"auth_tls_secret": "default/missing"},
        {"auth_tls_secret": "default/users"},
        {"configuration_snippet": "allow all;"},
        {"server_snippet": "return 200;"},
        {"auth_snippet": "x"},
        {"enable_modsecurity": "true"},
        {"limit_rps": "many"},
        {"backend_protocol": "FCGI"},
        {"backend_protocol": "HTTPS", "proxy_ssl_verify": "on"},
    ],
    ids=lambda found: " ".join(found),
)
def test_a_guard_that_is_wrong_or_refused_closes_the_path_and_says_why(world: Any, annotations: dict[str, str]) -> None:
    world.secret("users", auth=f"me:{HASH}")
    world.secret("users", namespace="elsewhere", auth=f"me:{HASH}")
    world.secret("plain", auth="me:secret")
    guarded(world, **annotations)
    world.ingress("b", "a.example", ("/other", "Prefix", "other"))
    assert world.goes("http://a.example/x") == "503"
    whole = "auth_tls_secret" in annotations  # a certificate is asked for at the whole host
    assert world.goes("http://a.example/other") == ("503" if whole else "other /other")
    assert world.problems()


def test_basic_auth_from_a_file_or_a_map(world: Any) -> None:
    world.secret("users", auth=f"me:{HASH}\n# none\nyou:{SHA}:comment\nbad:word\n")
    world.secret("map", alice=HASH)
    guarded(world, auth_type="basic", auth_secret="users", auth_realm="Staff only")
    map_words = {"auth-type": "basic", "auth-secret": "default/map", "auth-secret-type": "auth-map"}
    world.ingress("b", "b.example", ROOT, annotations=map_words)
    found = world.route("http://a.example/").access
    assert found == table.Access(basic=table.BasicAuth(realm="Staff only", users=(("me", HASH), ("you", SHA))))
    assert world.route("http://b.example/").access.basic.users == (("alice", HASH),)
    assert HASH not in repr(found)
    assert "UnsupportedPassword Ingress/default/a metadata.annotations[auth-secret]" in world.problems()


@pytest.mark.parametrize(
    ("stored", "opens"),
    [
        ("$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", True),
        ("$2b$14$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", True),
        ("$2y$15$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", False),
        ("$2y$05$short", False),
        ("$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA", True),
        ("$6$rounds=5000$saltsalt$" + "x" * 86, True),
        ("$6$rounds=1000001$saltsalt$" + "x" * 86, False),
        ("$6$saltsalt$" + "x" * 43, False),
        ("$1$saltsalt$9xy1btjgzLYfb7hivXtC//", True),
        ("{SHA}abc", False),
        ("rqXexS6ZhobKA", False),
    ],
)
def test_a_password_that_is_not_computed_opens_nothing_and_closes_nothing_else(
    world: Any, stored: str, opens: bool
) -> None:
    world.secret("users", auth=f"me:{stored}\nyou:{SHA}")
    guarded(world, auth_type="basic", auth_secret="users")
    users = dict(world.route("http://a.example/").access.basic.users)
    assert users == {**({"me": stored} if opens else {}), "you": SHA}
    assert ("UnsupportedPassword" in str(world.problems())) is not opens


def test_satisfy_any(world: Any) -> None:
    world.secret("users", auth=f"me:{HASH}")
    guarded(world, auth_type="basic", auth_secret="users", whitelist_source_range="10.0.0.0/8", satisfy="any")
    assert world.route("http://a.example/").access.any
    assert world.ask("http://a.example/", client="8.8.8.8").asks == ("basic",)


def test_another_service_is_asked_first(world: Any) -> None:
    guarded(world, auth_url="http://web.default.svc.cluster.local/check", auth_response_headers="X-User")
    found = world.ask("http://a.example/")
    assert found.asks == ("request",)
    request = found.route.access.request
    assert (request.backend, request.uri, request.response_headers) == (
        "default/web:p80/http", (("text", "/check"),), ("X-User",)
    )  # fmt: skip


def test_client_certificates_are_asked_for(world: Any) -> None:
    world.secret("ca", ca_crt=CA)
    world.ingress("open", "b.example", ROOT)
    world.ingress("guarded", "a.example", ("/admin", "Prefix", "web"), annotations={"auth-tls-secret": "default/ca"})
    assert world.ask("http://a.example/admin").asks == ("certificate",)
    assert world.ask("http://b.example/").asks == ()
    assert world.problems() == []


def test_a_global_authentication_guards_all_but_what_is_exempt(world: Any) -> None:
    world.config(global_auth_url="https://login.example.org/check")
    guarded(world)
    world.ingress("b", "b.example", ROOT, annotations={"enable-global-auth": "false"})
    world.ingress("c", "c.example", ("/.well-known/acme-challenge", "Prefix", "web"))
    assert world.ask("http://a.example/").asks == ("request",)
    assert world.ask("http://b.example/").asks == ()
    assert world.ask("http://c.example/.well-known/acme-challenge").asks == ()


def words_of(annotations: dict[str, str]) -> Any:
    words = catalogue.parse({catalogue.PREFIX + name: value for name, value in annotations.items()}, obj="Ingress/a/b")
    assert words.problems == ()
    return words.get


def test_external_authentication_at_the_same_host() -> None:
    get = words_of(
        {
            "auth-url": "https://$host/oauth2/auth", "auth-signin": "https://$host/oauth2/start",
            "auth-response-headers": "X-Auth-Request-User, Authorization", "auth-cache-key": "$cookie_sid",
        }
    )  # fmt: skip
    request = access.request(get, backend=lambda target: "never", headers=None)
    assert (request.backend, request.uri, request.method) == ("", (("text", "/oauth2/auth"),), "GET")
    assert request.response_headers == ("X-Auth-Request-User", "Authorization")
    assert (request.cache_key, request.cache_seconds) == ((("variable", "cookie:sid"),), 300.0)
    assert request.signin == (
        ("text", "https://"), ("variable", "hostname"), ("text", "/oauth2/start"), ("text", "?rd="),
        ("variable", "scheme"), ("text", "://"), ("variable", "host"), ("variable", "escaped-uri"),
    )  # fmt: skip


def test_what_a_client_certificate_must_be() -> None:
    get = words_of(
        {
            "auth-tls-secret": "default/ca", "auth-tls-verify-client": "optional", "auth-tls-verify-depth": "2",
            "auth-tls-match-cn": "CN=client-.*", "auth-tls-pass-certificate-to-upstream": "true",
            "auth-tls-error-page": "https://help.example/certificates",
        }
    )  # fmt: skip
    secrets = objects.Lookup("Secret", {"default/ca": {"stringData": {"ca.crt": CA}}})
    assert access.certificate(get, namespace="default", secrets=secrets) == table.ClientCertificate(
        ca_pem=CA, mode="optional", depth=2, match_cn="client-.*", forward=True,
        error_page=(("text", "https://help.example/certificates"),),
    )  # fmt: skip


def test_limits_count_by_client_over_all_paths_of_an_ingress(world: Any) -> None:
    words = {"limit-rps": "10", "limit-rpm": "60", "limit-connections": "3", "limit-whitelist": "10.0.0.0/8"}
    world.ingress("a", "a.example", ROOT, ("/x", "Prefix", "web"), annotations=words)
    limits = world.route("http://a.example/").limits
    assert limits == world.route("http://a.example/x").limits
    assert limits == (
        table.RateLimit(connections=3, scope="default/a/connections", exempt=("10.0.0.0/8",), status=503),
        table.RateLimit(
            requests_per_second=1, burst=301, scope="default/a/limit-rpm", exempt=("10.0.0.0/8",), status=503
        ),
        table.RateLimit(
            requests_per_second=10, burst=51, scope="default/a/limit-rps", exempt=("10.0.0.0/8",), status=503
        ),
    )
    world.config(limit_req_status_code="429")
    assert [one.status for one in world.route("http://a.example/").limits] == [503, 429, 429]


@pytest.mark.parametrize(
    ("value", "statuses", "seconds"),
    [
        ("200 202 10m", (200, 202), 600),
        ("200 202 10m, 401 5m", (200, 202, 401), 300),
        ("5m", (200, 202, 401), 300),
    ],
)
def test_answers_of_the_service_are_remembered_as_documented(
    world: Any, value: str, statuses: tuple[int, ...], seconds: float
) -> None:
    url = "http://web.default.svc.cluster.local/check"
    guarded(world, auth_url=url, auth_cache_key="$cookie_session", auth_cache_duration=value)
    request = world.route("http://a.example/").access.request
    assert (request.cache_statuses, request.cache_seconds) == (statuses, seconds)


def two_at_one_host(world: Any, *, second: str, secret: str = "ca") -> None:
    world.ingress("a", "a.example", ("/admin", "Prefix", "web"), annotations={"auth-tls-secret": secret})
    world.ingress("b", "a.example", ("/", "Prefix", "web"), namespace=second)


@pytest.mark.parametrize("second", ["default", "other"])
def test_a_certificate_that_one_ingress_asks_for_is_asked_for_at_the_whole_host(world: Any, second: str) -> None:
    world.secret("ca", ca_crt=CA)
    two_at_one_host(world, second=second)
    for url in ("http://a.example/admin", "http://a.example/", "https://a.example/x"):
        assert world.ask(url).asks == ("certificate",)
    world.ingress("c", "c.example", ROOT)
    assert world.ask("http://c.example/").asks == ()


def test_an_ingress_with_an_authority_of_its_own_is_judged_by_that(world: Any) -> None:
    world.secret("ca", ca_crt=CA)
    world.secret("own", ca_crt=CA.replace("x", "y"))
    two_at_one_host(world, second="default")
    world.ingress("c", "a.example", ("/c", "Prefix", "web"), annotations={"auth-tls-secret": "default/own"})
    asked = [world.route(f"http://a.example{path}").access.certificate.ca_pem for path in ("/", "/admin", "/c")]
    assert asked == [CA, CA, CA.replace("x", "y")]


@pytest.mark.parametrize(("second", "answer"), [("default", "503"), ("other", "web /")])
def test_a_broken_authority_closes_its_own_namespaces_paths_alone(world: Any, second: str, answer: str) -> None:
    two_at_one_host(world, second=second, secret="missing")
    assert world.goes("http://a.example/admin") == "503"
    assert world.goes("http://a.example/") == answer
