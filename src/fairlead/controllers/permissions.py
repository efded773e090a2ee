"""What each controller may do: its RBAC rules by ServiceAccount in kube-system, as the bootstrap roles must grant
them.

Data only, after Kubernetes' `bootstrappolicy/controller_policy.go`, cut down to what our controllers use; a test runs
every controller behind these rules. The roles are to be named `system:controller:NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rule = dict[str, Any]


def _rule(group: str, resources: str, verbs: str) -> Rule:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


_READ = "get list watch"
_EVENTS = _rule("", "events", "create patch update")
_PODS = _rule("", "pods", "create delete patch")
_REVISIONS = _rule("apps", "controllerrevisions", "create delete patch update")

RULES: Mapping[str, Sequence[Rule]] = {
    "kube-controller-manager": [_rule("*", "*", _READ)],
    "deployment-controller": [
        _EVENTS,
        _rule("apps", "deployments", "update patch"),
        _rule("apps", "deployments/status deployments/finalizers", "update patch"),
        _rule("apps", "replicasets", "create update patch delete"),
    ],
    "replicaset-controller": [
        _EVENTS,
        _PODS,
        _rule("apps", "replicasets/status replicasets/finalizers", "update patch"),
    ],
    "endpointslice-controller": [
        _EVENTS,
        _rule("", "services/finalizers", "update"),
        _rule("discovery.k8s.io", "endpointslices", "create update delete"),
    ],
    "endpointslicemirroring-controller": [
        _EVENTS,
        _rule("", "services/finalizers endpoints/finalizers", "update"),
        _rule("discovery.k8s.io", "endpointslices", "create update delete"),
    ],
    "endpoint-controller": [_EVENTS, _rule("", "endpoints endpoints/restricted", "create update delete")],
    "generic-garbage-collector": [_EVENTS, _rule("*", "*", "get list watch patch update delete")],
    "namespace-controller": [
        _EVENTS,
        _rule("*", "*", "get list delete deletecollection"),
        _rule("", "namespaces", "create"),
        _rule("", "namespaces/finalize namespaces/status", "update"),
        _rule("", "serviceaccounts configmaps", "create update"),
    ],
    "horizontal-pod-autoscaler": [
        _EVENTS,
        _rule("autoscaling", "horizontalpodautoscalers/status", "update"),
        _rule("*", "*/scale", "get patch update"),
    ],
    "statefulset-controller": [
        _EVENTS,
        _PODS,
        _REVISIONS,
        _rule("apps", "statefulsets/status statefulsets/finalizers", "update patch"),
        _rule("", "persistentvolumeclaims", "create get patch update delete"),
    ],
    "persistent-volume-binder": [
        _EVENTS,
        _rule("", "persistentvolumes", "create update patch delete"),
        _rule("", "persistentvolumes/status persistentvolumeclaims/status", "update patch"),
        _rule("", "persistentvolumeclaims", "update patch"),
        _rule("storage.k8s.io", "storageclasses", "create"),
    ],
    "ephemeral-volume-controller": [
        _EVENTS,
        _rule("", "pods/finalizers", "update"),
        _rule("", "persistentvolumeclaims", "create"),
    ],
    "daemon-set-controller": [
        _EVENTS,
        _PODS,
        _REVISIONS,
        _rule("apps", "daemonsets/status daemonsets/finalizers", "update patch"),
    ],
    "job-controller": [_EVENTS, _PODS, _rule("batch", "jobs/status jobs/finalizers", "update patch")],
    "cronjob-controller": [
        _EVENTS,
        _rule("batch", "jobs", "create delete patch"),
        _rule("batch", "cronjobs/status cronjobs/finalizers", "update patch"),
    ],
    "default-scheduler": [_EVENTS],
    "ttl-after-finished-controller": [_EVENTS, _rule("batch", "jobs", "get delete")],
    "disruption-controller": [
        _EVENTS,
        _rule("policy", "poddisruptionbudgets/status", "update patch"),
        _rule("", "pods/status", "patch update"),
    ],
}


def allows(rules: Sequence[Rule], *, verb: str, group: str, resource: str) -> bool:
    """Whether the rules grant the verb; `resource` may be `plural/subresource`."""
    _, slash, subresource = resource.partition("/")
    names = {"*", resource, f"*/{subresource}"} if slash else {"*", resource}
    return any(
        {group, "*"} & set(rule["apiGroups"]) and names & set(rule["resources"]) and {verb, "*"} & set(rule["verbs"])
        for rule in rules
    )
