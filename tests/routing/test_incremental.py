"""A Translator that has seen many snapshots says of the last what a new one says; what is equal is the same object."""

import operator
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies

from fairlead.routing import settings, table, translate

WHERE = settings.Settings(
    ingress_nginx=True, check_certificates=False, dns=("udp:127.0.0.1:5353",),
    default_certificate=table.Certificate(id="@default", chain_pem="c", key_pem="k"),
)  # fmt: skip
KERNEL = settings.Settings(network="kernel", gateway="10.244.0.1", check_certificates=False)
HOSTS = ("a.example", "b.example", "*.example", "")
NGINX = "nginx.ingress.kubernetes.io/"
WORDS = (
    {}, {NGINX + "rewrite-target": "/$1"}, {NGINX + "canary": "true", NGINX + "canary-weight": "20"},
    {NGINX + "auth-type": "basic", NGINX + "auth-secret": "s0"}, {NGINX + "affinity": "cookie"},
    {NGINX + "server-alias": "b.example,c.example"}, {NGINX + "custom-headers": "c0"}, {NGINX + "limit-rps": "x"},
    {"fairlead.dev/algorithm": "ewma"}, {"fairlead.dev/canary": "true", "fairlead.dev/canary-weight": "5"},
)  # fmt: skip


def named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    meta = {"namespace": "default", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"kind": kind, "metadata": {**meta, **fields.pop("meta", {})}, **fields}


@strategies.composite
def services(draw: Any) -> dict[str, Any]:
    number = draw(strategies.integers(0, 2))
    words = draw(strategies.sampled_from([{}, {"fairlead.dev/algorithm": "random"}]))
    port = {"port": draw(strategies.sampled_from([80, 81, 8080])), "name": "http"}
    if draw(strategies.booleans()):
        port["appProtocol"] = "http"
    kind = draw(strategies.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]))
    if kind != "ClusterIP":
        port["nodePort"] = draw(strategies.sampled_from([30001, 30002, 8080]))
    address = draw(strategies.sampled_from([f"127.96.0.{number + 1}", "None"]))
    stamp = f"2026-01-01T00:00:0{draw(strategies.integers(0, 3))}Z"
    return named(
        "Service",
        f"s{number}",
        meta={"annotations": words, "creationTimestamp": stamp},
        spec={"type": kind, "clusterIP": address, "ports": [port]},
    )


@strategies.composite
def ingresses(draw: Any) -> dict[str, Any]:
    backend = {"service": {"name": f"s{draw(strategies.integers(0, 3))}", "port": {"number": 80}}}
    paths = draw(strategies.lists(strategies.sampled_from(["/", "/x", "/x(.*)"]), min_size=1, max_size=2))
    rules = [
        {
            "host": host,
            "http": {
                "paths": [{"path": path, "pathType": "ImplementationSpecific", "backend": backend} for path in paths]
            },
        }
        for host in draw(strategies.lists(strategies.sampled_from(HOSTS), min_size=1, max_size=2))
    ]
    spec: dict[str, Any] = {
        "rules": rules,
        "ingressClassName": draw(strategies.sampled_from(["nginx", "fairlead", "other"])),
    }
    if draw(strategies.booleans()):
        spec["tls"] = [{"hosts": ["a.example"], "secretName": "s1"}]
    if draw(strategies.booleans()):
        spec["defaultBackend"] = backend
    stamp = f"2026-01-01T00:00:0{draw(strategies.integers(0, 3))}Z"
    words = draw(strategies.sampled_from(WORDS))
    return named(
        "Ingress",
        f"i{draw(strategies.integers(0, 4))}",
        meta={"annotations": words, "creationTimestamp": stamp},
        spec=spec,
    )


def others() -> Any:
    name = strategies.integers(0, 1)
    pem = {"tls.crt": "-----BEGIN CERTIFICATE-----", "tls.key": "-----BEGIN PRIVATE KEY-----", "auth": "me:{SHA}x"}
    secret = strategies.builds(
        lambda n, d: named("Secret", f"s{n}", stringData=d), name, strategies.sampled_from([pem, {}])
    )
    headers = strategies.builds(lambda n: named("ConfigMap", f"c{n}", data={"X-A": "1"}), name)
    control = {"namespace": "ingress-nginx"}
    config = strategies.builds(
        lambda size: named("ConfigMap", "ingress-nginx-controller", meta=control, data={"proxy-body-size": size}),
        strategies.sampled_from(["1m", "2m", "x"]),
    )
    targets = strategies.sampled_from(
        [{"kind": "Service", "name": "s0"}, {"group": "networking.k8s.io", "kind": "Ingress", "name": "i0"}]
    )
    policy = strategies.builds(
        lambda n, t: named("BackendPolicy", f"p{n}", spec={"targetRefs": [t], "algorithm": "maglev"}), name, targets
    )
    klass = strategies.builds(
        lambda c: named("IngressClass", "other", spec={"controller": c}),
        strategies.sampled_from(["x", "k8s.io/ingress-nginx"]),
    )
    return strategies.one_of(secret, headers, config, policy, klass)


VERBS = strategies.sampled_from(["put", "put", "delete"])
REFUSED = strategies.sampled_from(["service/default/s0/http/load-balancer", "service/default/s1/http/load-balancer"])
OBJECTS = strategies.one_of(
    services(),
    services(),
    ingresses(),
    ingresses(),
    others(),
    strategies.builds(lambda n: named("Refused", n), REFUSED),
)
CHANGES = strategies.lists(strategies.tuples(VERBS, OBJECTS), min_size=1, max_size=14)


def snapshot(objects: dict[tuple[str, str], dict[str, Any]]) -> translate.Snapshot:
    def of(kind: str) -> list[dict[str, Any]]:
        return [one for key, one in objects.items() if key[0] == kind]

    return translate.Snapshot(
        services=of("Service"), ingresses=of("Ingress"), ingress_classes=of("IngressClass"), secrets=of("Secret"),
        config_maps=of("ConfigMap"), backend_policies=of("BackendPolicy"),
        refused=[one["metadata"]["name"] for one in of("Refused")],
    )  # fmt: skip


def said(translation: translate.Translation) -> Any:
    return (
        msgspec.json.encode(translation.structure, order="deterministic"),
        sorted(translation.problems, key=str),
        translation.statuses,
        {service: set(sources) for service, sources in translation.sources.items()},
    )


@hypothesis.given(changes=CHANGES, where=strategies.sampled_from([WHERE, KERNEL]))
@hypothesis.settings(max_examples=200, deadline=None)
def test_a_translation_after_changes_is_that_of_the_whole(
    changes: list[tuple[str, dict[str, Any]]], where: settings.Settings
) -> None:
    translator, objects = translate.Translator(where), {}
    for verb, one in changes:
        key = (one["kind"], one["metadata"]["name"])
        if verb == "put":
            objects[key] = one
        else:
            objects.pop(key, None)
        assert said(translator.translate(snapshot(objects))) == said(translate.translate(snapshot(objects), where))


def test_what_does_not_change_is_the_same_object() -> None:
    backend = {"service": {"name": "s0", "port": {"number": 80}}}

    def ingress(number: int, path: str = "/") -> dict[str, Any]:
        paths = [{"path": path, "pathType": "Prefix", "backend": backend}]
        spec = {"ingressClassName": "nginx", "rules": [{"host": f"h{number}.example", "http": {"paths": paths}}]}
        return named("Ingress", f"i{number}", spec=spec)

    service = named("Service", "s0", spec={"clusterIP": "127.96.0.1", "ports": [{"port": 80}]})
    those = [ingress(number) for number in range(20)]
    translator = translate.Translator(WHERE)
    before = translator.translate(translate.Snapshot(services=[service], ingresses=those)).structure
    those[7] = ingress(7, "/changed")
    after = translator.translate(translate.Snapshot(services=[service], ingresses=those)).structure
    other = {name for name in before.routes if not name.startswith("Ingress/default/i7/")}
    assert all(operator.is_(before.routes[name], after.routes[name]) for name in other)
    assert before.routes.keys() ^ after.routes.keys() or before.routes != after.routes


def test_one_service_that_changes_is_translated_alone() -> None:
    def service(number: int, port: int = 80) -> dict[str, Any]:
        ports = [{"port": port, "name": "web", "nodePort": 30000 + number}]
        spec = {"type": "NodePort", "clusterIP": f"127.96.0.{number + 1}", "ports": ports}
        return named("Service", f"s{number}", spec=spec)

    those = [service(number) for number in range(20)]
    translator = translate.Translator(WHERE)
    before = translator.translate(translate.Snapshot(services=those)).structure
    those[7] = service(7, 81)
    after = translator.translate(translate.Snapshot(services=those)).structure
    for section in ("listeners", "backends", "names"):
        now, then = getattr(after, section), getattr(before, section)
        other = [name for name in then if "default/s7" not in name and "/" in name]
        assert len(other) >= 19
        assert all(now[name] is then[name] for name in other)
    assert after.names["service/default/s7/web"].values != before.names["service/default/s7/web"].values


def test_the_socket_of_a_service_that_goes_is_the_next_ones() -> None:
    def service(number: int) -> dict[str, Any]:
        ports = [{"port": 80, "name": "web", "nodePort": 30001}]
        spec = {"type": "NodePort", "clusterIP": f"127.96.0.{number + 1}", "ports": ports}
        return named("Service", f"s{number}", spec=spec)

    those = [service(number) for number in range(3)]
    translator = translate.Translator(WHERE)
    found = translator.translate(translate.Snapshot(services=those))
    assert len(found.problems) == 2
    for left in (those[1:], those[2:]):
        found = translator.translate(translate.Snapshot(services=left))
        assert f"service/default/{left[0]['metadata']['name']}/web/node" in found.structure.listeners
        assert len(found.problems) == len(left) - 1
    assert not translator.translate(translate.Snapshot()).structure.backends


def test_what_two_ingresses_share_stays_while_one_of_them_does() -> None:
    def ingress(number: int) -> dict[str, Any]:
        backend = {"service": {"name": "s0", "port": {"number": 80}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        spec = {"ingressClassName": "fairlead", "rules": [{"host": f"h{number}.example", "http": {"paths": paths}}]}
        return named("Ingress", f"i{number}", spec=spec)

    service = named("Service", "s0", spec={"clusterIP": "127.96.0.1", "ports": [{"port": 80}]})
    those = [ingress(number) for number in range(3)]
    translator = translate.Translator(WHERE)
    translator.translate(translate.Snapshot(services=[service], ingresses=those))
    for left in ([those[1], those[2]], [those[2]]):
        found = translator.translate(translate.Snapshot(services=[service], ingresses=left))
        assert "default/s0:80/http" in found.structure.backends
        assert len(found.sources["default/s0"]) == 2
    found = translator.translate(translate.Snapshot(services=[service]))
    assert "default/s0:80/http" not in found.structure.backends


def shared(words: dict[str, Any] | None = None, **ports: int) -> dict[str, Any]:
    """A Service that many hosts share."""
    spec = {"clusterIP": "127.96.0.1", "ports": [{"name": name, "port": port} for name, port in ports.items()]}
    return named("Service", "s0", meta={"annotations": words or {}}, spec=spec)


def host(number: int, words: dict[str, Any] | None = None) -> dict[str, Any]:
    paths = [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s0", "port": {"name": "web"}}}}]
    spec = {"ingressClassName": "nginx", "rules": [{"host": f"h{number}.example", "http": {"paths": paths}}]}
    return named("Ingress", f"i{number}", meta={"annotations": words or {}}, spec=spec)


KEPT = {
    "a status": lambda one: {**one, "status": {"loadBalancer": {"ingress": []}}},
    "a label": lambda one: {**one, "metadata": {**one["metadata"], "labels": {"a": "b"}, "resourceVersion": "9"}},
    "a port that nobody asked for": lambda one: shared(web=80, metrics=9001),
    "another number under the name": lambda one: shared(web=81, metrics=9000),
}
MADE = {
    "the port that was asked for is gone": lambda one: shared(http=80),
    "another protocol": lambda one: {
        **one, "spec": {**one["spec"], "ports": [{"name": "web", "port": 80, "appProtocol": "grpc"}]},
    },
    "another policy": lambda one: shared({"fairlead.dev/algorithm": "ewma"}, web=80),
    "sessions": lambda one: {**one, "spec": {**one["spec"], "sessionAffinity": "ClientIP"}},
}  # fmt: skip


@pytest.mark.parametrize("what", [*KEPT, *MADE])
@pytest.mark.parametrize("words", [{}, {NGINX + "affinity": "cookie"}], ids=["plain", "sticky"])
def test_hosts_that_share_a_service_are_made_again_only_where_it_leads_them_elsewhere(what: str, words: Any) -> None:
    before, those = shared(web=80, metrics=9000), [host(number, words) for number in range(5)]
    translator = translate.Translator(WHERE)
    then = translator.translate(translate.Snapshot(services=[before], ingresses=those)).structure
    after = translate.Snapshot(services=[(KEPT | MADE)[what](before)], ingresses=those)
    found = translator.translate(after)
    assert found.structure == translate.translate(after, WHERE).structure
    edge = [name for name in then.routes if name.startswith("Ingress/")]
    parts = [name for name in then.backends if "/http" in name]
    kept = [found.structure.routes[name] is then.routes[name] for name in edge]
    kept += [found.structure.backends.get(name) is then.backends[name] for name in parts]
    assert len(edge) == 5
    assert all(kept) == (what in KEPT)


def test_backends_with_the_same_endpoints_are_told_them_all() -> None:
    words = {NGINX + "affinity": "cookie"}
    translator = translate.Translator(WHERE)
    found = translator.translate(
        translate.Snapshot(services=[shared(web=80)], ingresses=[host(1, words), host(2, words)])
    )
    slices = [
        {"metadata": {"namespace": "default", "name": "a", "labels": {"kubernetes.io/service-name": "s0"}},
         "ports": [{"name": "web", "port": 9000}], "endpoints": [{"addresses": ["192.0.2.7"]}]}
    ]  # fmt: skip
    sets = found.endpoints_of("default/s0", slices)
    assert {one.backend for one in sets} >= {name for name in found.structure.backends if "@i" in name}
    assert {one.endpoints for one in sets} == {(table.Endpoint(address="192.0.2.7", port=9000),)}
