"""What a new cluster holds: namespaces, roles and bindings, the Service of the API itself.

Made at every start where it is missing; what an administrator has changed is left alone. Roles follow Kubernetes'
`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, cut down to the kinds and controllers that there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
RBAC = "rbac.authorization.k8s.io"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
READ = ["get", "list", "watch"]
WRITE = ["create", "update", "patch", "delete", "deletecollection"]
ALL = [*READ, *WRITE]
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def rule(verbs: list[str], resources: list[str], groups: list[str] | None = None, **more: Any) -> Object:
    """One PolicyRule."""
    return {"apiGroups": groups if groups is not None else [""], "resources": resources, "verbs": verbs, **more}


_EVENTS = rule(["create", "patch", "update"], ["events"], ["", "events.k8s.io"])
_LEASES = rule(["get", "create", "update", "patch", "list", "watch"], ["leases"], ["coordination.k8s.io"])
_PODS = rule([*READ, "create", "delete", "patch", "update"], ["pods"])

CONTROLLERS: dict[str, list[Object]] = {
    "traffic-controller": [
        _EVENTS,
        rule(["*"], ["*"], ["gateway.networking.k8s.io", "fairlead.dev"]),
        rule(
            [*READ, "create", "update", "patch"],
            ["ingressclasses", "ingresses", "ingresses/status"],
            ["networking.k8s.io"],
        ),
        rule([*READ, "update", "patch"], ["services", "services/status"]),
        rule([*READ, "update", "patch"], ["pods", "pods/status"]),
        rule(READ, ["secrets", "configmaps", "namespaces", "nodes", "endpoints"]),
        rule(READ, ["endpointslices"], ["discovery.k8s.io"]),
    ],
}
"""ServiceAccount in kube-system -> rules of its `system:controller:NAME` role; the controllers bring their own."""


_NAMESPACED = [
    "configmaps",
    "endpoints",
    "persistentvolumeclaims",
    "pods",
    "services",
    "serviceaccounts",
    "secrets",
    "pods/attach",
    "pods/exec",
    "pods/portforward",
    "pods/proxy",
    "services/proxy",
    "pods/eviction",
    "bindings",
]
_NAMESPACED_READ = [
    "bindings",
    "events",
    "limitranges",
    "namespaces",
    "namespaces/status",
    "pods/log",
    "pods/status",
    "resourcequotas",
    "resourcequotas/status",
    "services/status",
    "persistentvolumeclaims/status",
]
_GROUPED = {
    "apps": [
        "controllerrevisions",
        "daemonsets",
        "deployments",
        "deployments/scale",
        "deployments/rollback",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
    ],
    "autoscaling": ["horizontalpodautoscalers"],
    "batch": ["cronjobs", "jobs"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "policy": ["poddisruptionbudgets"],
    "discovery.k8s.io": ["endpointslices"],
    "gateway.networking.k8s.io": ["*"],
    "fairlead.dev": ["*"],
    "metrics.k8s.io": ["pods", "nodes"],
}
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"


def _with_status(resources: list[str]) -> list[str]:
    return [*resources, *(f"{name}/status" for name in resources if "/" not in name and name != "*")]


def _view() -> list[Object]:
    plain = [name for name in _NAMESPACED if name != "secrets" and "/" not in name]
    rules = [rule(READ, plain + _NAMESPACED_READ)]
    return rules + [rule(READ, _with_status(names), [group]) for group, names in _GROUPED.items()]


def _edit() -> list[Object]:
    rules = [rule(READ, ["secrets", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"])]
    rules += [
        rule(["impersonate"], ["serviceaccounts"]),
        rule(WRITE, _NAMESPACED),
        rule(["create"], ["serviceaccounts/token"]),
    ]
    rules += [rule(WRITE, names, [group]) for group, names in _GROUPED.items() if group != "metrics.k8s.io"]
    rules.append(rule(WRITE, ["events"]))
    return [*rules, rule(ALL, ["leases"], ["coordination.k8s.io"]), *_view()]


def _admin() -> list[Object]:
    review = rule(["create"], ["localsubjectaccessreviews"], ["authorization.k8s.io"])
    return [rule(ALL, ["roles", "rolebindings"], [RBAC]), review, *_edit()]


_DISCOVERY = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
]
_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_REVIEWS = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]


def _node() -> list[Object]:
    return [
        rule([*READ, "create", "patch", "update"], ["nodes", "nodes/status"]),
        rule([*READ, "create", "delete", "patch", "update"], ["pods", "pods/status"]),
        rule(
            READ,
            [
                "services",
                "configmaps",
                "secrets",
                "persistentvolumeclaims",
                "persistentvolumes",
                "serviceaccounts",
                "namespaces",
                "endpoints",
            ],
        ),
        rule(
            ["create", "patch", "update"],
            ["persistentvolumeclaims/status", "persistentvolumes", "persistentvolumes/status"],
        ),
        rule(["create"], ["serviceaccounts/token", "pods/eviction"]),
        rule(READ, ["ingresses"], ["networking.k8s.io"]),
        rule(READ, ["endpointslices"], ["discovery.k8s.io"]),
        rule(["create"], ["tokenreviews"], ["authentication.k8s.io"]),
        rule(["create"], ["subjectaccessreviews", "localsubjectaccessreviews"], ["authorization.k8s.io"]),
        {**_LEASES, "verbs": [*_LEASES["verbs"], "delete"]},
        _EVENTS,
    ]


def roles(controllers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Object]]:
    """Cluster role -> rules."""
    everything = [rule(["*"], ["*"], ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    found = {
        "cluster-admin": everything,
        "admin": _admin(),
        "edit": _edit(),
        "view": _view(),
        "system:discovery": [{"nonResourceURLs": _DISCOVERY, "verbs": ["get"]}],
        "system:public-info-viewer": [{"nonResourceURLs": _PUBLIC, "verbs": ["get"]}],
        "system:monitoring": [{"nonResourceURLs": ["/metrics", *_PUBLIC], "verbs": ["get"]}],
        "system:basic-user": [
            rule(["create"], _REVIEWS, ["authorization.k8s.io"]),
            rule(["create"], ["selfsubjectreviews"], ["authentication.k8s.io"]),
        ],
        "system:node": _node(),
        "system:auth-delegator": [
            rule(["create"], ["tokenreviews"], ["authentication.k8s.io"]),
            rule(["create"], ["subjectaccessreviews"], ["authorization.k8s.io"]),
        ],
    }
    own = {f"system:controller:{name}": [dict(one) for one in rules] for name, rules in controllers.items()}
    return found | own


_BINDINGS: dict[str, tuple[str, list[str]]] = {
    "cluster-admin": ("cluster-admin", ["system:masters"]),
    "system:discovery": ("system:discovery", ["system:authenticated"]),
    "system:public-info-viewer": ("system:public-info-viewer", ["system:authenticated", "system:unauthenticated"]),
    "system:basic-user": ("system:basic-user", ["system:authenticated"]),
    "system:monitoring": ("system:monitoring", ["system:monitoring"]),
    "system:node": ("system:node", ["system:nodes"]),
}


def objects(controller_rules: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Object]:
    """Everything that a new cluster holds."""
    controllers = {**CONTROLLERS, **controller_rules}
    found: list[Object] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES]
    found += [_role(name, rules) for name, rules in roles(controllers).items()]
    for name, (role, groups) in _BINDINGS.items():
        subjects = [{"kind": "Group", "name": group, "apiGroup": RBAC} for group in groups]
        found.append(_binding(name, role, subjects))
    for name in controllers:
        account = {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
        found.append(_binding(f"system:controller:{name}", f"system:controller:{name}", [account]))
    found.append(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "system-cluster-critical"},
            "value": 2000000000,
            "description": "Used for system critical pods that must run in the cluster.",
        }
    )
    found.append(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "system-node-critical"},
            "value": 2000001000,
            "description": "Used for system critical pods that must not be moved from their node.",
        }
    )
    return found


def _role(name: str, rules: list[Object]) -> Object:
    metadata: Object = {"name": name, "labels": dict(_LABEL), "annotations": {AUTO_UPDATE: "true"}}
    obj: Object = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    if name in ("admin", "edit", "view"):
        obj["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}{name}": "true"}}]}
    return obj


def _binding(name: str, role: str, subjects: list[Object]) -> Object:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": dict(_LABEL)},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    }
