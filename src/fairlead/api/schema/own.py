"""The schemas of our own kinds (fairlead.dev), written by hand in the form of Kubernetes' own.

BackendPolicy is attached with `targetRefs` as Gateway API policies are (GEP-713); its `status` is their PolicyStatus.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_NAME = "dev.fairlead.v1alpha1."


def _ref(name: str) -> Schema:
    return {"$ref": REF + name}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _kind(kind: str) -> list[Schema]:
    return [{"group": "fairlead.dev", "kind": kind, "version": "v1alpha1"}]


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number", "format": "double"}
_COUNT: Schema = {"type": "integer", "format": "int64"}
_TARGET = _object(group=_TEXT, kind=_TEXT, name=_TEXT, sectionName=_TEXT) | {"required": ["kind", "name"]}
_ANCESTOR = _object(
    ancestorRef=_object(group=_TEXT, kind=_TEXT, namespace=_TEXT, name=_TEXT, sectionName=_TEXT),
    controllerName=_TEXT,
    conditions=_list(_ref(_META + "Condition")),
)
_SPEC = _object(
    targetRefs=_list(_TARGET),
    algorithm=_TEXT,
    hashOn=_TEXT,
    loadBound=_NUMBER,
    spillFactor=_NUMBER,
    slowStartSeconds=_NUMBER,
    panicThreshold=_NUMBER,
    affinity=_object(
        kind=_TEXT, cookie=_TEXT, timeoutSeconds=_NUMBER, path=_TEXT, domain=_TEXT, sameSite=_TEXT, maxAgeSeconds=_COUNT
    ),
    health=_object(
        kind=_TEXT, path=_TEXT, host=_TEXT, service=_TEXT, port=_COUNT, intervalSeconds=_NUMBER, timeoutSeconds=_NUMBER,
        healthyThreshold=_COUNT, unhealthyThreshold=_COUNT,
    ),
    outlier=_object(
        consecutiveErrors=_COUNT, connectFailures=_COUNT, successRatePercent=_NUMBER, ejectionSeconds=_NUMBER,
        maxEjectionSeconds=_NUMBER, maxEjectedPercent=_NUMBER,
    ),
    retry=_object(
        attempts=_COUNT,
        on=_list(_TEXT),
        bufferBytes=_COUNT,
        budgetPercent=_NUMBER,
        timeoutSeconds=_NUMBER,
        backoffSeconds=_NUMBER,
    ),
    timeouts=_object(
        connectSeconds=_NUMBER, requestSeconds=_NUMBER, idleSeconds=_NUMBER, backendRequestSeconds=_NUMBER,
        connectionAgeSeconds=_NUMBER,
    ),
    limits=_object(endpointConnections=_COUNT, endpointRequests=_COUNT, maxWaiting=_COUNT),
)  # fmt: skip

DEFINITIONS: dict[str, Schema] = {
    _NAME + "BackendPolicySpec": _SPEC | {"required": ["targetRefs"]},
    _NAME + "BackendPolicyStatus": _object(ancestors=_list(_ANCESTOR)),
    _NAME + "BackendPolicy": _object(
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_ref(_META + "ObjectMeta"),
        spec=_ref(_NAME + "BackendPolicySpec"),
        status=_ref(_NAME + "BackendPolicyStatus"),
    )
    | {"required": ["spec"], "x-kubernetes-group-version-kind": _kind("BackendPolicy")},
    _NAME + "BackendPolicyList": _object(
        apiVersion=_TEXT, kind=_TEXT, metadata=_ref(_META + "ListMeta"), items=_list(_ref(_NAME + "BackendPolicy"))
    )
    | {"required": ["items"], "x-kubernetes-group-version-kind": _kind("BackendPolicyList")},
}

DESCRIPTIONS: dict[str, dict[str, str]] = {
    _NAME + "BackendPolicy": {
        "": "BackendPolicy says how the endpoints of a Service or an Ingress share its requests."
    },
    _NAME + "BackendPolicySpec": {
        "targetRefs": "The Services (or one port, by sectionName) and Ingresses in this namespace that it is for.",
        "algorithm": "How an endpoint is chosen: least-request, round-robin, ewma, prequal, maglev and others, or a "
        "scheduler of IPVS by its name.",
        "hashOn": "What the hashing algorithms hash: header:NAME, cookie:NAME, query:NAME, path, uri, client or host.",
        "loadBound": "Of the hashing algorithms: no endpoint gets over so many times its share of what is in flight.",
        "spillFactor": "With trafficDistribution: how many times as busy as elsewhere the near endpoints may be.",
        "slowStartSeconds": "How long a new endpoint gets less than its share.",
        "panicThreshold": "Below this percentage of healthy endpoints health is ignored; -1: never (fail closed).",
        "affinity": "Keeps a client at one endpoint.",
        "health": "Checks that the balancer makes itself, beside readiness.",
        "outlier": "When an endpoint that fails is left out for a while.",
        "retry": "When a request is tried again on another endpoint.",
        "timeouts": "In seconds; 0 is never, and not the default of 60 seconds for an answer's beginning.",
        "limits": "Connections and requests for one endpoint, and how many may wait; 0 is no limit.",
    },
}
