"""Fields of a pod that we do not honour: each is told in an Event, so that nothing is silently ignored.

Only what changes behaviour is here. What would be dangerous to leave out (a privilege that is asked for and missing)
fails when the container starts instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

_POD_FIELDS = (
    "dnsConfig", "hostPID", "hostIPC", "hostUsers", "runtimeClassName", "shareProcessNamespace", "overhead",
    "setHostnameAsFQDN", "resources", "resourceClaims", "ephemeralContainers",
)  # fmt: skip
_POD_CONTEXT = ("seLinuxOptions", "seccompProfile", "appArmorProfile", "sysctls", "windowsOptions")
_CONTAINER_FIELDS = ("volumeDevices", "resizePolicy", "restartPolicyRules")
_CONTAINER_CONTEXT = (
    "privileged", "readOnlyRootFilesystem", "seLinuxOptions", "seccompProfile", "appArmorProfile", "procMount",
)  # fmt: skip
_HARMLESS = {"seccompProfile": "RuntimeDefault", "procMount": "Default"}


def fields(pod: Object, *, own_network: bool, has_images: bool) -> list[str]:
    """The paths of the fields that are not honoured."""
    found = list(_find(pod["spec"], own_network))
    return [path for path in found if not (has_images and path.endswith(".readOnlyRootFilesystem"))]


def _find(spec: Object, own_network: bool) -> Iterator[str]:
    yield from (f"spec.{name}" for name in _POD_FIELDS if spec.get(name))
    yield from _context(spec.get("securityContext") or {}, _POD_CONTEXT, "spec.securityContext")
    if spec.get("dnsPolicy", "ClusterFirst") not in ("ClusterFirst", "Default", "ClusterFirstWithHostNet"):
        yield "spec.dnsPolicy"
    if spec.get("hostAliases") and not own_network:
        yield "spec.hostAliases"
    for word in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(word) or []):
            yield from _container(container, f"spec.{word}[{index}]")
    for index, volume in enumerate(spec.get("volumes") or []):
        if (volume.get("emptyDir") or {}).get("medium") == "Memory":
            yield f"spec.volumes[{index}].emptyDir.medium"
        if (volume.get("emptyDir") or {}).get("sizeLimit"):
            yield f"spec.volumes[{index}].emptyDir.sizeLimit"


def _container(container: Object, path: str) -> Iterator[str]:
    yield from (f"{path}.{name}" for name in _CONTAINER_FIELDS if container.get(name))
    yield from _context(container.get("securityContext") or {}, _CONTAINER_CONTEXT, f"{path}.securityContext")
    for index, port in enumerate(container.get("ports") or []):
        if port.get("hostPort"):
            yield f"{path}.ports[{index}].hostPort"
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("mountPropagation") not in (None, "None"):
            yield f"{path}.volumeMounts[{index}].mountPropagation"
    if (container.get("resources") or {}).get("claims"):
        yield f"{path}.resources.claims"


def _context(context: Object, names: tuple[str, ...], path: str) -> Iterator[str]:
    for name in names:
        value = context.get(name)
        kind = value.get("type") if isinstance(value, dict) else value
        if value and kind != _HARMLESS.get(name):
            yield f"{path}.{name}"


def message(pod: Object, *, own_network: bool, has_images: bool) -> str:
    """The Event's sentence, "" when everything is honoured."""
    found = fields(pod, own_network=own_network, has_images=has_images)
    if not found:
        return ""
    return f"not honoured here: {', '.join(found)}"
