"""What a pod's spec may hold, in a Pod or in a template (`pkg/apis/core/validation`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any

from fairlead.api import field_errors, names
from fairlead.api.validation import common, pod_dns

Object = dict[str, Any]
Problems = common.Problems
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def validate_pod(obj: Object) -> Problems:
    """Everything that is wrong with a Pod."""
    spec = obj.get("spec")
    if spec is None:
        return [field_errors.required("spec.containers")]
    return validate_pod_spec(spec, "spec")


def validate_template(template: Any, path: str, *, claims: Collection[str] = ()) -> Problems:
    """A PodTemplateSpec. `claims` are volumes that its pods get besides (of a StatefulSet's volumeClaimTemplates)."""
    if template is None:
        return [field_errors.required(path)]
    metadata = template.get("metadata") or {}
    found = names.validate_labels(metadata.get("labels"), f"{path}.metadata.labels")
    found += names.validate_annotations(metadata.get("annotations"), f"{path}.metadata.annotations")
    spec = template.get("spec")
    if spec is None:
        return [*found, field_errors.required(f"{path}.spec.containers")]
    return found + validate_pod_spec(spec, f"{path}.spec", claims=claims)


def validate_pod_spec(spec: Object, path: str, *, claims: Collection[str] = ()) -> Problems:
    """A PodSpec after defaulting."""
    found: Problems = []
    volumes = _volumes(spec.get("volumes"), f"{path}.volumes", found) | set(claims)
    containers = spec.get("containers")
    if not containers:
        found.append(field_errors.required(f"{path}.containers"))
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            where = f"{path}.{field}[{index}]"
            _container(container, where, volumes, found, init=field == "initContainers")
            if container.get("name") in seen:
                found.append(field_errors.duplicate(f"{where}.name", container["name"]))
            seen.add(container.get("name", ""))
    found += common.one_of(spec.get("restartPolicy"), f"{path}.restartPolicy", ("Always", "OnFailure", "Never"))
    found += pod_dns.validate(spec, path)
    found += common.non_negative(spec.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds")
    if "activeDeadlineSeconds" in spec:
        found += common.positive(spec["activeDeadlineSeconds"], f"{path}.activeDeadlineSeconds")
    if "nodeSelector" in spec:
        found += names.validate_labels(spec["nodeSelector"], f"{path}.nodeSelector")
    if spec.get("serviceAccountName") and (problem := names.subdomain_problem(spec["serviceAccountName"])):
        found.append(field_errors.invalid(f"{path}.serviceAccountName", spec["serviceAccountName"], problem))
    for field in ("hostname", "subdomain"):
        if spec.get(field) and (problem := names.label_problem(spec[field])):
            found.append(field_errors.invalid(f"{path}.{field}", spec[field], problem))
    if override := spec.get("hostnameOverride"):
        if problem := names.subdomain_problem(override):
            found.append(field_errors.invalid(f"{path}.hostnameOverride", override, problem))
        elif len(override) > 64:
            found.append(
                field_errors.invalid(f"{path}.hostnameOverride", override, "must be no more than 64 characters")
            )
        if spec.get("hostNetwork") or spec.get("setHostnameAsFQDN"):
            detail = "may not be set together with hostNetwork or setHostnameAsFQDN"
            found.append(field_errors.forbidden(f"{path}.hostnameOverride", detail))
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        _address(alias.get("ip", ""), f"{path}.hostAliases[{index}].ip", found)
    return found


def _address(text: str, path: str, found: Problems) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        found.append(field_errors.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))


_KNOWN_SOURCES = (
    "emptyDir",
    "hostPath",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "persistentVolumeClaim",
    "image",
    "nfs",
    "csi",
    "ephemeral",
    "iscsi",
    "fc",
    "cephfs",
    "rbd",
    "glusterfs",
    "flexVolume",
    "azureFile",
    "azureDisk",
    "awsElasticBlockStore",
    "gcePersistentDisk",
    "gitRepo",
    "cinder",
    "flocker",
    "portworxVolume",
    "quobyte",
    "scaleIO",
    "storageos",
    "vsphereVolume",
    "photonPersistentDisk",
)


def _volumes(volumes: Any, path: str, found: Problems) -> set[str]:
    seen: set[str] = set()
    for index, volume in enumerate(volumes or ()):
        where, name = f"{path}[{index}]", volume.get("name", "")
        if not name:
            found.append(field_errors.required(f"{where}.name"))
        elif problem := names.label_problem(name):
            found.append(field_errors.invalid(f"{where}.name", name, problem))
        elif name in seen:
            found.append(field_errors.duplicate(f"{where}.name", name))
        seen.add(name)
        sources = [key for key in volume if key in _KNOWN_SOURCES]
        if len(sources) > 1:
            found.append(field_errors.forbidden(f"{where}.{sources[1]}", "may not specify more than 1 volume type"))
        _volume_source(volume, where, found)
    return seen


def _volume_source(volume: Object, where: str, found: Problems) -> None:
    if volume.get("hostPath") is not None and not volume["hostPath"].get("path"):
        found.append(field_errors.required(f"{where}.hostPath.path"))
    if volume.get("configMap") is not None and not volume["configMap"].get("name"):
        found.append(field_errors.required(f"{where}.configMap.name"))
    if volume.get("secret") is not None and not volume["secret"].get("secretName"):
        found.append(field_errors.required(f"{where}.secret.secretName"))
    claim = volume.get("persistentVolumeClaim")
    if claim is not None and not claim.get("claimName"):
        found.append(field_errors.required(f"{where}.persistentVolumeClaim.claimName"))


def _container(container: Object, path: str, volumes: set[str], found: Problems, *, init: bool) -> None:
    name = container.get("name", "")
    if not name:
        found.append(field_errors.required(f"{path}.name"))
    elif problem := names.label_problem(name):
        found.append(field_errors.invalid(f"{path}.name", name, problem))
    image = container.get("image", "")
    if not image:
        found.append(field_errors.required(f"{path}.image"))
    elif image != image.strip():
        found.append(field_errors.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if "imagePullPolicy" in container:
        found += common.one_of(container["imagePullPolicy"], f"{path}.imagePullPolicy", _PULL)
    _ports(container.get("ports"), f"{path}.ports", found)
    _environment(container.get("env"), f"{path}.env", found)
    _mounts(container.get("volumeMounts"), f"{path}.volumeMounts", volumes, found)
    if container.get("resources"):
        _resources(container["resources"], f"{path}.resources", found)
    _restarts(container, path, found)
    sidecar = container.get("restartPolicy") == "Always"
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if probe is None:
            continue
        if init and not sidecar:
            found.append(
                field_errors.forbidden(
                    f"{path}.{field}", "may not be set for init containers without restartPolicy=Always"
                )
            )
        _probe(probe, f"{path}.{field}", found, once=field != "readinessProbe")
    for hook, handler in (container.get("lifecycle") or {}).items():
        if isinstance(handler, dict):
            _handler(handler, f"{path}.lifecycle.{hook}", found)


def _restarts(container: Object, path: str, found: Problems) -> None:
    """A container's own restart policy and its rules (KEP-5307)."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules")
    if policy is not None:
        found += common.one_of(policy, f"{path}.restartPolicy", ("Always", "OnFailure", "Never"))
    elif rules:
        found.append(
            field_errors.required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")
        )
    for index, rule in enumerate(rules or ()):
        where = f"{path}.restartPolicyRules[{index}]"
        found += common.one_of(rule.get("action"), f"{where}.action", ("Restart", "RestartAllContainers"))
        codes = rule.get("exitCodes")
        if codes is None:
            found.append(field_errors.required(f"{where}.exitCodes", "must be specified"))
            continue
        found += common.one_of(codes.get("operator"), f"{where}.exitCodes.operator", ("In", "NotIn"))
        if not codes.get("values"):
            found.append(field_errors.required(f"{where}.exitCodes.values"))


def _ports(ports: Any, path: str, found: Problems) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports or ()):
        where = f"{path}[{index}]"
        if not port.get("containerPort"):
            found.append(field_errors.required(f"{where}.containerPort"))
        else:
            found += common.port_number(port["containerPort"], f"{where}.containerPort")
        if port.get("hostPort"):
            found += common.port_number(port["hostPort"], f"{where}.hostPort")
        found += common.one_of(port.get("protocol"), f"{where}.protocol", _PROTOCOLS)
        name = port.get("name")
        if name:
            if problem := names.port_name_problem(name):
                found.append(field_errors.invalid(f"{where}.name", name, problem))
            if name in seen:
                found.append(field_errors.duplicate(f"{where}.name", name))
            seen.add(name)


def _environment(variables: Any, path: str, found: Problems) -> None:
    for index, variable in enumerate(variables or ()):
        where, name = f"{path}[{index}]", variable.get("name", "")
        if not name:
            found.append(field_errors.required(f"{where}.name"))
        elif problem := names.environment_problem(name):
            found.append(field_errors.invalid(f"{where}.name", name, problem))
        source = variable.get("valueFrom")
        if source is None:
            continue
        if variable.get("value"):
            detail = "may not be specified when `value` is not empty"
            found.append(field_errors.invalid(f"{where}.valueFrom", "", detail))
        if len(source) == 0:
            found.append(
                field_errors.invalid(
                    f"{where}.valueFrom",
                    "",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
                )
            )
        elif len(source) > 1:
            found.append(
                field_errors.invalid(f"{where}.valueFrom", "", "may not have more than one field specified at a time")
            )
        for kind in ("configMapKeyRef", "secretKeyRef"):
            if source.get(kind) is not None and not source[kind].get("key"):
                found.append(field_errors.required(f"{where}.valueFrom.{kind}.key"))


def _mounts(mounts: Any, path: str, volumes: set[str], found: Problems) -> None:
    paths: set[str] = set()
    for index, mount in enumerate(mounts or ()):
        where, name = f"{path}[{index}]", mount.get("name", "")
        if not name:
            found.append(field_errors.required(f"{where}.name"))
        elif name not in volumes:
            found.append(field_errors.not_found(f"{where}.name", name))
        target = mount.get("mountPath", "")
        if not target:
            found.append(field_errors.required(f"{where}.mountPath"))
        elif target in paths:
            found.append(field_errors.invalid(f"{where}.mountPath", target, "must be unique"))
        paths.add(target)
        if ".." in (mount.get("subPath") or "").split("/"):
            found.append(field_errors.invalid(f"{where}.subPath", mount["subPath"], "must not contain '..'"))


def _resources(resources: Object, path: str, found: Problems) -> None:
    from fairlead.api import quantity

    for field in ("limits", "requests"):
        for name, value in (resources.get(field) or {}).items():
            where = f"{path}.{field}[{name}]" if "/" in name else f"{path}.{field}.{name}"
            if (
                "/" not in name
                and name not in ("cpu", "memory", "ephemeral-storage")
                and not name.startswith("hugepages-")
            ):
                found.append(
                    field_errors.invalid(f"{path}.{field}[{name}]", name, "must be a standard resource for containers")
                )
            found += common.quantity_of(value, where)
    limits = resources.get("limits") or {}
    for name, value in (resources.get("requests") or {}).items():
        try:
            if name in limits and quantity.parse(value) > quantity.parse(limits[name]):
                detail = f"must be less than or equal to {name} limit of {limits[name]}"
                found.append(field_errors.invalid(f"{path}.requests", str(value), detail))
        except quantity.QuantityError:
            continue  # already reported


def _probe(probe: Object, path: str, found: Problems, *, once: bool) -> None:
    _handler(probe, path, found)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        found += common.non_negative(probe.get(field), f"{path}.{field}")
    if once and probe.get("successThreshold", 1) != 1:
        found.append(field_errors.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))


def _handler(handler: Object, path: str, found: Problems) -> None:
    kinds = [kind for kind in _HANDLERS if handler.get(kind) is not None]
    if not kinds:
        found.append(field_errors.required(path, "must specify a handler type"))
    for kind in kinds[1:]:
        found.append(field_errors.forbidden(f"{path}.{kind}", "may not specify more than 1 handler type"))
    get = handler.get("httpGet")
    if get is not None:
        found += common.port_or_name(get.get("port", 0), f"{path}.httpGet.port")
        found += common.one_of(get.get("scheme"), f"{path}.httpGet.scheme", ("HTTP", "HTTPS"))
        if not get.get("path"):
            found.append(field_errors.required(f"{path}.httpGet.path"))
    if handler.get("tcpSocket") is not None:
        found += common.port_or_name(handler["tcpSocket"].get("port", 0), f"{path}.tcpSocket.port")
    if handler.get("exec") is not None and not handler["exec"].get("command"):
        found.append(field_errors.required(f"{path}.exec.command"))
    if handler.get("grpc") is not None:
        found += common.port_number(handler["grpc"].get("port", 0), f"{path}.grpc.port")


_MUTABLE = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates", "nodeSelector")
_UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod_update(obj: Object, old: Object) -> Problems:
    """A pod's spec is fixed but for images, added tolerations and a deadline that gets shorter."""
    new_spec, old_spec = obj.get("spec") or {}, old.get("spec") or {}
    if new_spec == old_spec:
        return []
    if len(new_spec.get("containers") or ()) != len(old_spec.get("containers") or ()):
        return [field_errors.forbidden("spec.containers", "pod updates may not add or remove containers")]
    deadline, known = new_spec.get("activeDeadlineSeconds"), old_spec.get("activeDeadlineSeconds")
    if known is not None and (deadline is None or deadline > known):
        what = "from a positive integer to nil value" if deadline is None else "to a larger value"
        return [field_errors.invalid("spec.activeDeadlineSeconds", deadline, f"must not update {what}")]
    gates, before = new_spec.get("schedulingGates") or [], old_spec.get("schedulingGates") or []
    for one in gates:
        if one not in before:
            detail = f'only deletion is allowed, but found new scheduling gate "{one.get("name", "")}"'
            return [field_errors.invalid("spec.schedulingGates", one.get("name", ""), detail)]
    if before and not gates and not old_spec.get("nodeName"):
        old_spec = {**old_spec, "nodeName": new_spec.get("nodeName")}  # it was placed because the last gate went
    if _comparable(new_spec) != _comparable(old_spec):
        return [field_errors.forbidden("spec", _UPDATE_TEXT)]
    before = old_spec.get("tolerations") or []
    if any(one not in (new_spec.get("tolerations") or []) for one in before):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        return [field_errors.forbidden("spec.tolerations", detail)]
    return []


def _comparable(spec: Object) -> Object:
    copied = {
        key: value
        for key, value in spec.items()
        if key not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    }
    for field in ("containers", "initContainers"):
        copied[field] = [{k: v for k, v in container.items() if k != "image"} for container in spec.get(field) or ()]
    copied.pop("nodeName", None) if not spec.get("nodeName") else None
    return copied
