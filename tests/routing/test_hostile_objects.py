"""A hostile string in any string field of any kind changes nothing of another namespace's table."""

import copy
from collections.abc import Iterator
from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies

from fairlead.routing import settings, table, translate

INJECTIONS = (
    "", " ", "/", "a/b", "../x", "\x00", "\r\n", "a\nb", "*", "**.victim.example", "*.victim.example", "victim/web",
    "127.0.0.1", "::1", "0", "-1", "65536", "true", "null", "{}", "Local", "ExternalName", "LoadBalancer", "NodePort",
    "None", "http", "kubernetes.io/h2c", "victim", "web", "@default", "/http", "$(id)", "';--", "\u202e", "x" * 300,
    "(", "cookie:sid", "hash",
)  # fmt: skip
HOSTILE = strategies.one_of(strategies.text(max_size=60), strategies.sampled_from(INJECTIONS))
ADDRESS = {"victim": "127.96.0.1", "evil": "127.96.0.2"}


def world(namespace: str) -> list[dict[str, Any]]:
    """One object of each kind, with every string field that a translation may read."""
    host = f"{namespace}.example"
    service = {
        "kind": "Service",
        "metadata": {
            "name": "web", "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {f"fairlead.dev/{k}": v for k, v in (("algorithm", "maglev"), ("hash-on", "path"))},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": ADDRESS[namespace], "clusterIPs": [ADDRESS[namespace]],
            "ipFamilies": ["IPv4"], "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Cluster", "externalName": "x.org",
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "appProtocol": "http", "targetPort": "http"}],
        },
    }  # fmt: skip
    slice_ = {
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [
            {
                "addresses": [ADDRESS[namespace].replace("96", "244")], "nodeName": "here", "zone": "z",
                "targetRef": {"kind": "Pod", "name": "web-0", "namespace": namespace},
                "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "here"}]},
            }
        ],
    }  # fmt: skip
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    rules = [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    ingress = {
        "kind": "Ingress",
        "metadata": {
            "name": "web", "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:01Z",
            "annotations": {"fairlead.dev/algorithm": "ewma", "kubernetes.io/ingress.class": ""},
        },
        "spec": {"ingressClassName": "fairlead", "rules": rules, "tls": [{"hosts": [host], "secretName": "tls"}]},
    }  # fmt: skip
    secret = {
        "kind": "Secret",
        "metadata": {"name": "tls", "namespace": namespace},
        "data": {"tls.crt": "eA==", "tls.key": "eA=="},
    }
    policy = {
        "kind": "BackendPolicy",
        "metadata": {"name": "policy", "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:02Z"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "web", "sectionName": "http"}],
            "affinity": {"kind": "cookie", "cookie": "sid", "path": "/", "domain": "x.org", "sameSite": "Lax"},
            "health": {"kind": "http", "path": "/ok", "host": "x.org"}, "retry": {"on": ["connect"]},
        },
    }  # fmt: skip
    return [service, slice_, ingress, secret, policy]


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where strings are; what names an object's kind or namespace is its identity, not its text."""
    if isinstance(value, dict):
        for name, part in value.items():
            if (so_far, name) not in (((), "kind"), (("metadata",), "namespace"), ((), "addressType")):
                yield from paths(part, (*so_far, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from paths(part, (*so_far, index))
    elif isinstance(value, str):
        yield so_far


PLACES = [(index, path) for index, one in enumerate(world("evil")) for path in paths(one)]
KINDS = {
    "Service": "services", "EndpointSlice": "endpoint_slices", "Ingress": "ingresses", "Secret": "secrets",
    "BackendPolicy": "backend_policies",
}  # fmt: skip


def of_victims(objects: list[dict[str, Any]]) -> bytes:
    fields: dict[str, list[dict[str, Any]]] = {}
    for one in objects:
        fields.setdefault(KINDS[one["kind"]], []).append(one)
    snapshot = translate.Snapshot(**fields)
    where = settings.Settings(
        node="here",
        ingress_nginx=True,
        default_certificate=table.Certificate(id="@default", chain_pem="c", key_pem="k"),
    )
    translation = translate.translate(snapshot, where)
    made = translation.structure
    mine = {
        "routes": [
            msgspec.structs.replace(route, order=0)
            for route in made.routes.values()
            if route.info.object.split("/")[1] == "victim"
        ],
        "backends": [one for one in made.backends.values() if one.info.object == "Service/victim/web"],
        "listeners": [one for name, one in made.listeners.items() if "/evil/" not in name],
        "endpoints": [
            one
            for one in translate.all_endpoints(translation, snapshot.endpoint_slices)
            if one.backend.startswith("victim/")
        ],
        "names": list(made.names.values()),
    }
    return msgspec.json.encode(mine, order="deterministic")


BEFORE = of_victims([*world("evil"), *world("victim")])


@hypothesis.given(value=HOSTILE, place=strategies.sampled_from(PLACES))
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_string_of_any_object_changes_another_namespaces_table(
    value: str, place: tuple[int, tuple[Any, ...]]
) -> None:
    index, path = place
    if path[-1] == "host" and value.lower() in ("victim.example", "*.victim.example", ""):
        return  # hosts may be shared; who may have one is admission's business
    if path[1:2] == ("clusterIP",) or "clusterIPs" in path:
        return  # allocated by the API server, never a user's text
    evil = copy.deepcopy(world("evil"))
    target: Any = evil[index]
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    assert of_victims([*evil, *world("victim")]) == BEFORE
