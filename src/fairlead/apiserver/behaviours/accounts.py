"""The ServiceAccount admission of pods: whose account a pod has, and the token volume that its containers get.

Follows k8s.io/kubernetes `plugin/pkg/admission/serviceaccount`: unless `automountServiceAccountToken` says no (the
pod's word wins over the account's), a projected volume `kube-api-access-…` with a token of an hour, the cluster's CA
and the namespace is mounted at `/var/run/secrets/kubernetes.io/serviceaccount` where nothing else is. An account that
does not exist is refused, but for `default`, which a new namespace gets a moment after it was made.
"""

from __future__ import annotations

from typing import Any

from fairlead.api import kinds
from fairlead.apiserver import status
from fairlead.apiserver.behaviours import base

Object = dict[str, Any]
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607  # an hour, and a mark that tells these tokens from others
ROOT_CA = "kube-root-ca.crt"


def admit(obj: Object, around: base.Surroundings) -> None:
    """Fills in the account and mounts its token. Raises ApiError 403 for an account that is not there."""
    spec = obj["spec"]
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    namespace = obj["metadata"]["namespace"]
    account = around.get("serviceaccounts", namespace, name)
    if account is None and name != "default":
        text = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise status.forbidden(kinds.POD, obj["metadata"].get("name", ""), text)
    if account and account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    if _wanted(spec, account or {}):
        _mount(spec, around)


def _wanted(spec: Object, account: Object) -> bool:
    for holder in (spec, account):
        said = holder.get("automountServiceAccountToken")
        if said is not None:
            return bool(said)
    return True


def _mount(spec: Object, around: base.Surroundings) -> None:
    lists = (spec.get("initContainers") or (), spec.get("containers") or ())
    missing = [
        container
        for containers in lists
        for container in containers
        if all(mount.get("mountPath") != MOUNT_PATH for mount in container.get("volumeMounts") or ())
    ]
    if not missing:
        return
    volumes = spec.setdefault("volumes", [])
    known = next((one["name"] for one in volumes if str(one.get("name", "")).startswith(PREFIX)), "")
    name = known or PREFIX + around.random_name(5)
    if not known:
        volumes.append({"name": name, "projected": _projected()})
    for container in missing:
        mount = {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _projected() -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }
