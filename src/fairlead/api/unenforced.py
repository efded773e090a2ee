"""Fields that are accepted, because manifests have them, and that nothing in fairlead acts upon: each gets a Warning.

Pure: an object in, sentences out. Only what would make a difference is here; what the network mode or the runtime
decides is told by the node agent in an Event instead. Refused fields are validation's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fairlead.api.kinds import Kind

Object = dict[str, Any]

_POD_FIELDS = (
    "hostPID", "hostIPC", "runtimeClassName", "shareProcessNamespace", "overhead", "setHostnameAsFQDN", "resources",
    "resourceClaims",
)  # fmt: skip
_CONTAINER_FIELDS = ("volumeDevices", "resizePolicy")
_CONTEXT_FIELDS = ("seLinuxOptions", "appArmorProfile", "sysctls", "windowsOptions")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_SCHEDULER = "default-scheduler"


def warnings(kind: Kind, obj: Object) -> list[str]:
    """What of the object is kept and not acted upon, one sentence for each field; then what Kubernetes warns about."""
    find = _FINDERS.get((kind.group, kind.kind))
    found = [f"{path}: is kept but not acted upon by fairlead{why}" for path, why in find(obj)] if find else []
    if kind.kind == "Ingress" and "kubernetes.io/ingress.class" in (obj["metadata"].get("annotations") or {}):
        found.append(
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
        )
    return found


def _pod(spec: Object, path: str) -> Iterator[tuple[str, str]]:
    for name in _POD_FIELDS:
        if spec.get(name):
            yield f"{path}.{name}", ""
    if spec.get("hostUsers") is False:
        yield f"{path}.hostUsers", ""
    if spec.get("schedulerName", _SCHEDULER) != _SCHEDULER:
        yield f"{path}.schedulerName", ": there is one node, and the API server places pods on it"
    for name in ("podAffinity", "podAntiAffinity"):
        if ((spec.get("affinity") or {}).get(name) or {}).get(_REQUIRED):
            yield f"{path}.affinity.{name}.{_REQUIRED}", ": there is one node"
    yield from _context(spec.get("securityContext") or {}, f"{path}.securityContext")
    for word in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(word) or ()):
            yield from _container(container, f"{path}.{word}[{index}]")


def _container(container: Object, path: str) -> Iterator[tuple[str, str]]:
    for name in _CONTAINER_FIELDS:
        if container.get(name):
            yield f"{path}.{name}", ""
    yield from _context(container.get("securityContext") or {}, f"{path}.securityContext")
    if ((container.get("securityContext") or {}).get("procMount") or "Default") != "Default":
        yield f"{path}.securityContext.procMount", ""
    for index, rule in enumerate(container.get("restartPolicyRules") or ()):
        if rule.get("action") != "Restart":
            yield f"{path}.restartPolicyRules[{index}].action", ": only Restart is offered"
    resources = container.get("resources") or {}
    if resources.get("claims"):
        yield f"{path}.resources.claims", ""
    for name in resources.get("limits") or {}:
        if name not in ("cpu", "memory", "ephemeral-storage"):
            yield f"{path}.resources.limits[{name}]", ""


def _context(context: Object, path: str) -> Iterator[tuple[str, str]]:
    for name in _CONTEXT_FIELDS:
        if context.get(name):
            yield f"{path}.{name}", ""
    if (context.get("seccompProfile") or {}).get("type") == "Localhost":
        yield f"{path}.seccompProfile", ""


def _own_pod(obj: Object) -> Iterator[tuple[str, str]]:
    yield from _pod(obj.get("spec") or {}, "spec")


def _template(obj: Object, *, below: str = "spec") -> Iterator[tuple[str, str]]:
    spec = obj
    for name in below.split("."):
        spec = spec.get(name) or {}
    yield from _pod((spec.get("template") or {}).get("spec") or {}, f"{below}.template.spec")


def _cron_job(obj: Object) -> Iterator[tuple[str, str]]:
    yield from _template(obj, below="spec.jobTemplate.spec")


def _claim(obj: Object) -> Iterator[tuple[str, str]]:
    spec = obj.get("spec") or {}
    for name in ("dataSource", "dataSourceRef", "volumeAttributesClassName"):
        if spec.get(name):
            yield f"spec.{name}", ": a claim is an empty folder"
    if spec.get("volumeMode") == "Block":
        yield "spec.volumeMode", ": a claim is a folder"


_FINDERS: dict[tuple[str, str], Callable[[Object], Iterator[tuple[str, str]]]] = {
    ("", "Pod"): _own_pod,
    ("", "PersistentVolumeClaim"): _claim,
    ("apps", "Deployment"): _template,
    ("apps", "ReplicaSet"): _template,
    ("apps", "DaemonSet"): _template,
    ("apps", "StatefulSet"): _template,
    ("batch", "Job"): _template,
    ("batch", "CronJob"): _cron_job,
}
