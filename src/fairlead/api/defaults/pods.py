"""Defaults of a pod's spec, wherever it stands: in a Pod or in a template (`pkg/apis/core/v1/defaults.go`)."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
PERIODIC = ("livenessProbe", "readinessProbe", "startupProbe")


def default_pod_spec(spec: Object) -> None:
    """Fills in a PodSpec."""
    fill = spec.setdefault
    fill("restartPolicy", "Always")
    fill("terminationGracePeriodSeconds", 30)
    fill("dnsPolicy", "ClusterFirst")
    fill("schedulerName", "default-scheduler")
    fill("securityContext", {})
    if spec.get("serviceAccountName"):
        fill("serviceAccount", spec["serviceAccountName"])
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            default_container(container, host_network=spec.get("hostNetwork") is True)
    for volume in spec.get("volumes") or ():
        default_volume(volume)


def default_container(container: Object, *, host_network: bool) -> None:
    """Fills in a Container."""
    fill = container.setdefault
    if container.get("image"):
        fill("imagePullPolicy", pull_policy(container["image"]))
    fill("terminationMessagePath", "/dev/termination-log")
    fill("terminationMessagePolicy", "File")
    fill("resources", {})
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if host_network and "containerPort" in port:
            port.setdefault("hostPort", port["containerPort"])
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    limits = container["resources"].get("limits")
    if limits:
        requests = container["resources"].setdefault("requests", {})
        for name, value in limits.items():
            requests.setdefault(name, value)
    for name in PERIODIC:
        if container.get(name) is not None:
            default_probe(container[name])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict):
            _default_http_get(handler)


def pull_policy(image: str) -> str:
    """Always for `:latest` and for images without tag or digest, else IfNotPresent."""
    name = image.rsplit("/", 1)[-1]
    if "@" in name:
        return "IfNotPresent"
    return "Always" if name.partition(":")[2] in ("", "latest") else "IfNotPresent"


def default_probe(probe: Object) -> None:
    """Fills in a Probe."""
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value
    _default_http_get(probe)
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _default_http_get(handler: Object) -> None:
    get = handler.get("httpGet")
    if get is not None:
        get.setdefault("path", "/")
        get.setdefault("scheme", "HTTP")


_MODES = {"secret": 420, "configMap": 420, "downwardAPI": 420, "projected": 420}


def default_volume(volume: Object) -> None:
    """Fills in a Volume."""
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}
    for source, mode in _MODES.items():
        if volume.get(source) is not None:
            volume[source].setdefault("defaultMode", mode)
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    for projection in (volume.get("projected") or {}).get("sources") or ():
        if projection.get("serviceAccountToken") is not None:
            projection["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    for items in (
        (volume.get("downwardAPI") or {}).get("items"),
        *(
            (source.get("downwardAPI") or {}).get("items")
            for source in (volume.get("projected") or {}).get("sources") or ()
        ),
    ):
        for item in items or ():
            if item.get("fieldRef") is not None:
                item["fieldRef"].setdefault("apiVersion", "v1")
