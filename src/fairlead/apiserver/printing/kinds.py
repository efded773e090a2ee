"""kubectl's columns of the built-in kinds (`pkg/printers/internalversion/printers.go`); pods have their own file."""

from __future__ import annotations

from typing import Any

from fairlead.api import selectors
from fairlead.apiserver.printing import ages, autoscaling, columns, network, pods
from fairlead.base import clock as clocks

Object = dict[str, Any]
NONE = "<none>"


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _containers(template: Object) -> tuple[str, str]:
    found = (template.get("spec") or {}).get("containers") or ()
    return ",".join(c.get("name", "") for c in found), ",".join(c.get("image", "") for c in found)


def selector_text(selector: Object | None) -> str:
    """A LabelSelector as the SELECTOR column shows it."""
    try:
        return str(selectors.from_object(selector)) or NONE if selector else NONE
    except selectors.SelectorError:
        return NONE


def _namespace(obj: Object, now: float) -> list[Any]:
    return [_name(obj), (obj.get("status") or {}).get("phase", ""), ages.age(obj, now)]


def _node(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    if spec.get("unschedulable"):
        word += ",SchedulingDisabled"
    labels = obj["metadata"].get("labels") or {}
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(label[len(prefix) :] for label in labels if label.startswith(prefix))) or NONE
    addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
    system = status.get("nodeInfo") or {}
    return [
        _name(obj),
        word,
        roles,
        ages.age(obj, now),
        system.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        system.get("osImage") or "<unknown>",
        system.get("kernelVersion") or "<unknown>",
        system.get("containerRuntimeVersion") or "<unknown>",
    ]


def _deployment(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = _containers(spec.get("template") or {})
    return [
        _name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        ages.age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _replica_set(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = _containers(spec.get("template") or {})
    return [
        _name(obj),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        ages.age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _stateful_set(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = _containers(spec.get("template") or {})
    return [
        _name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        ages.age(obj, now),
        names,
        images,
    ]


def _daemon_set(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = _containers(spec.get("template") or {})
    node = (((spec.get("template") or {}).get("spec")) or {}).get("nodeSelector")
    return [
        _name(obj),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        ",".join(f"{k}={v}" for k, v in sorted((node or {}).items())) or NONE,
        ages.age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _job(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    done = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        parallel = spec.get("parallelism", 0)
        completions = f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
    duration = ""
    if status.get("startTime"):
        started = clocks.parse_rfc3339(status["startTime"])
        end = clocks.parse_rfc3339(status["completionTime"]) if status.get("completionTime") else now
        duration = ages.human(end - started)
    names, images = _containers(spec.get("template") or {})
    return [
        _name(obj),
        _job_status(obj),
        completions,
        duration,
        ages.age(obj, now),
        names,
        images,
        selector_text(spec.get("selector")),
    ]


def _job_status(obj: Object) -> str:
    conditions = {c["type"] for c in (obj.get("status") or {}).get("conditions") or () if c["status"] == "True"}
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed")):
        if kind in conditions:
            return word
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    for kind, word in (
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if kind in conditions:
            return word
    return "Running"


def _cron_job(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    names, images = _containers(template)
    last = ages.since(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE
    return [
        _name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(spec.get("suspend", False)),
        len(status.get("active") or ()),
        last,
        ages.age(obj, now),
        names,
        images,
        NONE,
    ]


def _config_map(obj: Object, now: float) -> list[Any]:
    return [_name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), ages.age(obj, now)]


def _secret(obj: Object, now: float) -> list[Any]:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or ()), ages.age(obj, now)]


def _account(obj: Object, now: float) -> list[Any]:
    return [_name(obj), len(obj.get("secrets") or ()), ages.age(obj, now)]


def _event(obj: Object, now: float) -> list[Any]:
    involved, source, series = obj.get("involvedObject") or {}, obj.get("source") or {}, obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    target = (
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"
        if involved.get("name")
        else involved.get("kind", "").lower()
    )
    origin = source.get("component", "") or obj.get("reportingComponent", "")
    if source.get("host"):
        origin += f", {source['host']}"
    count = series.get("count") or obj.get("count") or 1
    return [
        ages.since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        target,
        involved.get("fieldPath", ""),
        origin,
        (obj.get("message") or "").strip(),
        ages.since(first, now),
        count,
        _name(obj),
    ]


def _claim(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    phase = "Terminating" if "deletionTimestamp" in obj["metadata"] else status.get("phase", "")
    capacity = str((status.get("capacity") or {}).get("storage", "")) if spec.get("volumeName") else ""
    modes = _modes(status.get("accessModes")) if spec.get("volumeName") else ""
    return [
        _name(obj),
        phase,
        spec.get("volumeName", ""),
        capacity,
        modes,
        spec.get("storageClassName", ""),
        "<unset>",
        ages.age(obj, now),
        spec.get("volumeMode", "Filesystem"),
    ]


_SHORT = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Any) -> str:
    return ",".join(_SHORT.get(mode, mode) for mode in modes or ())


def _volume(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    claim = spec.get("claimRef") or {}
    return [
        _name(obj),
        str((spec.get("capacity") or {}).get("storage", "")),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim['name']}" if claim.get("name") else "",
        spec.get("storageClassName", ""),
        "<unset>",
        status.get("reason", ""),
        ages.age(obj, now),
        spec.get("volumeMode", "Filesystem"),
    ]


def _lease(obj: Object, now: float) -> list[Any]:
    return [_name(obj), (obj.get("spec") or {}).get("holderIdentity", ""), ages.age(obj, now)]


def _budget(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        _name(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        status.get("disruptionsAllowed", 0),
        ages.age(obj, now),
    ]


def _role(obj: Object, now: float) -> list[Any]:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _binding(obj: Object, now: float) -> list[Any]:
    reference = obj.get("roleRef") or {}
    groups: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        text = (
            f"{subject.get('namespace', '')}/{subject['name']}"
            if subject["kind"] == "ServiceAccount"
            else subject["name"]
        )
        groups.setdefault(subject["kind"], []).append(text)
    return [
        _name(obj),
        f"{reference.get('kind')}/{reference.get('name')}",
        ages.age(obj, now),
        ", ".join(groups["User"]),
        ", ".join(groups["Group"]),
        ", ".join(groups["ServiceAccount"]),
    ]


def _definition(obj: Object, now: float) -> list[Any]:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _priority(obj: Object, now: float) -> list[Any]:
    return [
        _name(obj),
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        ages.age(obj, now),
        obj.get("preemptionPolicy", "PreemptLowerPriority"),
    ]


def _revision(obj: Object, now: float) -> list[Any]:
    owner = next((ref for ref in obj["metadata"].get("ownerReferences") or () if ref.get("controller")), None)
    kind = NONE
    if owner is not None:
        group = owner["apiVersion"].partition("/")[0]
        kind = (
            f"{owner['kind'].lower()}.{group}/{owner['name']}"
            if "/" in owner["apiVersion"]
            else f"{owner['kind'].lower()}/{owner['name']}"
        )
    return [_name(obj), kind, obj.get("revision", 0), ages.age(obj, now)]


def _storage_class(obj: Object, now: float) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    default = " (default)" if annotations.get("storageclass.kubernetes.io/is-default-class") == "true" else ""
    return [
        _name(obj) + default,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        ages.age(obj, now),
    ]


_P = columns.printer
_WIDE = "Containers* Images* Selector*"
PRINTERS: dict[str, columns.Printer] = {
    "namespaces": _P("Name Status Age", _namespace),
    "nodes": _P(
        "Name Status Roles Age Version Internal-IP* External-IP* OS-Image* Kernel-Version* Container-Runtime*", _node
    ),
    "pods": pods.PRINTER,
    "services": network.SERVICE,
    "endpoints": network.ENDPOINTS,
    "endpointslices.discovery.k8s.io": network.ENDPOINT_SLICE,
    "ingresses.networking.k8s.io": network.INGRESS,
    "ingressclasses.networking.k8s.io": network.INGRESS_CLASS,
    "networkpolicies.networking.k8s.io": network.NETWORK_POLICY,
    "deployments.apps": _P(f"Name Ready Up-to-date Available Age {_WIDE}", _deployment),
    "replicasets.apps": _P(f"Name Desired:integer Current:integer Ready:integer Age {_WIDE}", _replica_set),
    "statefulsets.apps": _P("Name Ready Age Containers* Images*", _stateful_set),
    "daemonsets.apps": _P(
        "Name Desired:integer Current:integer Ready:integer Up-to-date:integer Available:integer Node_Selector Age "
        + _WIDE,
        _daemon_set,
    ),
    "controllerrevisions.apps": _P("Name Controller Revision:integer Age", _revision),
    "jobs.batch": _P(f"Name Status Completions Duration Age {_WIDE}", _job),
    "cronjobs.batch": _P(f"Name Schedule Timezone Suspend Active:integer Last_Schedule Age {_WIDE}", _cron_job),
    "horizontalpodautoscalers.autoscaling": autoscaling.PRINTER,
    "configmaps": _P("Name Data:integer Age", _config_map),
    "secrets": _P("Name Type Data:integer Age", _secret),
    "serviceaccounts": _P("Name Secrets:integer Age", _account),
    "events": _P("Last_Seen Type Reason Object Subobject* Source* Message First_Seen* Count:integer* Name*", _event),
    "persistentvolumeclaims": _P(
        "Name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age VolumeMode*", _claim
    ),
    "persistentvolumes": _P(
        "Name Capacity Access_Modes Reclaim_Policy Status Claim StorageClass VolumeAttributesClass "
        "Reason Age VolumeMode*",
        _volume,
    ),
    "leases.coordination.k8s.io": _P("Name Holder Age", _lease),
    "poddisruptionbudgets.policy": _P("Name Min_Available Max_Unavailable Allowed_Disruptions:integer Age", _budget),
    "roles.rbac.authorization.k8s.io": _P("Name Created_At", _role),
    "clusterroles.rbac.authorization.k8s.io": _P("Name Created_At", _role),
    "rolebindings.rbac.authorization.k8s.io": _P("Name Role Age Users* Groups* ServiceAccounts*", _binding),
    "clusterrolebindings.rbac.authorization.k8s.io": _P("Name Role Age Users* Groups* ServiceAccounts*", _binding),
    "customresourcedefinitions.apiextensions.k8s.io": _P("Name Created_At", _definition),
    "priorityclasses.scheduling.k8s.io": _P(
        "Name Value:integer Global-Default:boolean Age PreemptionPolicy", _priority
    ),
    "storageclasses.storage.k8s.io": _P(
        "Name Provisioner ReclaimPolicy VolumeBindingMode AllowVolumeExpansion:boolean Age", _storage_class
    ),
}
