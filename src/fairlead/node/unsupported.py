"""Fields of a pod that we do not honour: each is told in an Event, so that nothing is silently ignored.

Only what changes behaviour is here. What would be dangerous to leave out (a privilege that is asked for and missing)
fails when the container starts instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

_POD_FIELDS = (
    "hostPID", "hostIPC", "hostUsers", "runtimeClassName", "shareProcessNamespace", "overhead",
    "setHostnameAsFQDN", "resources", "resourceClaims", "ephemeralContainers",
)  # fmt: skip
_POD_CONTEXT = ("seLinuxOptions", "seccompProfile", "appArmorProfile", "windowsOptions")
_CONTAINER_FIELDS = ("volumeDevices", "resizePolicy")
_CONTAINER_CONTEXT = (
    "privileged", "readOnlyRootFilesystem", "seLinuxOptions", "seccompProfile", "appArmorProfile", "procMount",
)  # fmt: skip
_HARMLESS = {"seccompProfile": "RuntimeDefault", "procMount": "Default"}


@dataclass(frozen=True, slots=True)
class Offers:
    """What a pod can have here: a network of its own, images, mounts, file systems in memory, ports of the host."""

    own_network: bool = True
    images: bool = False
    mounts: bool = True
    memory: bool = True
    host_ports: bool = True


def fields(pod: Object, offers: Offers) -> list[str]:
    """The paths of the fields that are not honoured."""
    return list(_find(pod["spec"], offers))


def _find(spec: Object, offers: Offers) -> Iterator[str]:
    yield from (f"spec.{name}" for name in _POD_FIELDS if spec.get(name))
    yield from _context(spec.get("securityContext") or {}, _POD_CONTEXT, "spec.securityContext")
    if not offers.mounts and (spec.get("dnsConfig") or {}).get("nameservers"):
        yield "spec.dnsConfig.nameservers (nothing can be mounted here, /etc/resolv.conf neither)"
    if (spec.get("securityContext") or {}).get("sysctls") and not offers.own_network:
        yield "spec.securityContext.sysctls"
    if spec.get("hostAliases") and not offers.mounts:
        yield "spec.hostAliases"
    if spec.get("serviceAccountName", "default") != "default" and not offers.mounts:
        yield "spec.serviceAccountName (nothing can be mounted here, so its token is not)"
    for word in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(word) or []):
            yield from _container(container, f"spec.{word}[{index}]", offers)
    for index, volume in enumerate(spec.get("volumes") or []):
        if (volume.get("emptyDir") or {}).get("medium") == "Memory" and not offers.memory:
            yield f"spec.volumes[{index}].emptyDir.medium"


def _container(container: Object, path: str, offers: Offers) -> Iterator[str]:
    yield from (f"{path}.{name}" for name in _CONTAINER_FIELDS if container.get(name))
    names = tuple(name for name in _CONTAINER_CONTEXT if name != "readOnlyRootFilesystem" or not offers.mounts)
    yield from _context(container.get("securityContext") or {}, names, f"{path}.securityContext")
    for index, port in enumerate(container.get("ports") or []):
        if port.get("hostPort") and not offers.host_ports:
            yield f"{path}.ports[{index}].hostPort"
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("mountPropagation") not in (None, "None"):
            yield f"{path}.volumeMounts[{index}].mountPropagation"
        if mount.get("recursiveReadOnly") == "Enabled":
            yield f"{path}.volumeMounts[{index}].recursiveReadOnly"
    if (container.get("resources") or {}).get("claims"):
        yield f"{path}.resources.claims"
    for index, rule in enumerate(container.get("restartPolicyRules") or []):
        if rule.get("action") != "Restart":
            yield f"{path}.restartPolicyRules[{index}].action"


def _context(context: Object, names: tuple[str, ...], path: str) -> Iterator[str]:
    for name in names:
        value = context.get(name)
        kind = value.get("type") if isinstance(value, dict) else value
        if value and kind != _HARMLESS.get(name):
            yield f"{path}.{name}"


def message(pod: Object, offers: Offers) -> str:
    """The Event's sentence, "" when everything is honoured."""
    found = fields(pod, offers)
    if not found:
        return ""
    return f"not honoured here: {', '.join(found)}"
