"""What `migrate` finds beside Ingresses as they are written now: the API's older versions, and what lies elsewhere.

An older Ingress (extensions/v1beta1, networking.k8s.io/v1beta1: gone since Kubernetes 1.22) is judged as what it would
be in networking.k8s.io/v1. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from fairlead.routing import draft

Object = dict[str, Any]
CURRENT = "networking.k8s.io/v1"
#: directives that people put into snippets, and what does their work
_INSTEAD = {
    "more_set_headers": "custom-headers sets an answer's fields",
    "add_header": "custom-headers sets an answer's fields",
    "proxy_set_header": "proxy-set-headers of the ConfigMap sets a request's fields",
    "more_set_input_headers": "proxy-set-headers of the ConfigMap sets a request's fields",
    "proxy_hide_header": "hide-headers of the ConfigMap takes an answer's fields out",
    "more_clear_headers": "hide-headers of the ConfigMap takes an answer's fields out",
    "allow": "whitelist-source-range says who may come in",
    "deny": "denylist-source-range says who may not come in",
    "return": "permanent-redirect and temporal-redirect answer with a redirect",
    "rewrite": "rewrite-target changes the path",
    "client_max_body_size": "proxy-body-size limits bodies",
    "proxy_read_timeout": "proxy-read-timeout is an annotation of its own",
    "auth_basic": "auth-type and auth-secret ask for passwords",
    "auth_request": "auth-url asks a service",
}
_LABEL = "app.kubernetes.io/name"
_STREAMS = ("tcp-services", "udp-services")


def version(ingress: Object) -> str:
    """What is to be said of an Ingress of an older version; "" of one that is current."""
    written = ingress.get("apiVersion") or CURRENT
    if written == CURRENT:
        return ""
    return f"{written} is gone since Kubernetes 1.22: write {CURRENT} (the rest is judged as if it were)"


def converted(ingress: Object) -> Object:
    """The Ingress as networking.k8s.io/v1 writes it; what is there in today's form stays."""
    spec = ingress.get("spec")
    if not isinstance(spec, dict):
        return {**ingress, "apiVersion": CURRENT}
    rest = {name: value for name, value in spec.items() if name != "backend"}
    if isinstance(spec.get("backend"), dict):
        rest["defaultBackend"] = _backend(spec["backend"])
    if isinstance(spec.get("rules"), list):
        rest["rules"] = [_rule(one) for one in spec["rules"]]
    return {**ingress, "apiVersion": CURRENT, "spec": rest}


def _rule(rule: Any) -> Any:
    http = rule.get("http") if isinstance(rule, dict) else None
    if not isinstance(http, dict) or not isinstance(http.get("paths"), list):
        return rule
    return {**rule, "http": {**http, "paths": [_path(one) for one in http["paths"]]}}


def _path(path: Any) -> Any:
    if not isinstance(path, dict):
        return path
    return {"pathType": "ImplementationSpecific", **path, "backend": _backend(path.get("backend"))}


def _backend(backend: Any) -> Any:
    if not isinstance(backend, dict) or "serviceName" not in backend:
        return backend
    port = backend.get("servicePort")
    if isinstance(port, str) and port.isdigit():
        port = int(port)
    written = {"number" if isinstance(port, int) else "name": port}
    return {"service": {"name": backend["serviceName"], "port": written}}


def instead_of(snippet: str) -> str:
    """What does the work of a snippet's directives, as far as something does; "" where nothing is known."""
    first = {line.split()[0] for line in snippet.splitlines() if line.split()}
    found = dict.fromkeys(_INSTEAD[word] for word in sorted(first) if word in _INSTEAD)
    return f"; {', '.join(found)}" if found else ""


def hints(objects: Sequence[Object], *, config: str, found: bool) -> tuple[str, ...]:
    """What was not judged and could be: another ConfigMap, ports for TCP, an object that is given twice."""
    maps = [one for one in objects if one.get("kind") == "ConfigMap"]
    said = [f"ConfigMap/{draft.key(one)} looks like the controller's: --config {draft.key(one)} judges it"
            for one in maps if not found and draft.key(one) != config and _is_controllers(one)]  # fmt: skip
    said += [f"ConfigMap/{draft.key(one)} is not read: make its ports Services of type LoadBalancer or NodePort"
             for one in maps if one["metadata"]["name"] in _STREAMS and one.get("data")]  # fmt: skip
    return (*said, *_twice(objects))


def _is_controllers(config_map: Object) -> bool:
    labels, name = config_map["metadata"].get("labels") or {}, config_map["metadata"]["name"]
    return (
        labels.get(_LABEL) == "ingress-nginx"
        or name.endswith("ingress-nginx-controller")
        or name == "nginx-configuration"
    )


def _twice(objects: Iterable[Object]) -> list[str]:
    times = Counter(f"{one.get('kind')}/{draft.key(one)}" for one in objects if one.get("kind") == "Ingress")
    return [f"{name} is given {count} times: the last one is judged" for name, count in times.items() if count > 1]
