"""What is accepted and not acted upon gives a Warning that names the field; what is acted upon gives none."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.api import kinds, unenforced

Object = dict[str, Any]
MEANS = "is kept but not acted upon by fairlead"


def _pod(**spec: Any) -> Object:
    return {"metadata": {}, "spec": {"containers": [{"name": "a"}], **spec}}


def _paths(kind: kinds.Kind, obj: Object) -> list[str]:
    return [text.partition(":")[0] for text in unenforced.warnings(kind, obj) if MEANS in text]


ANTI = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]}}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"overhead": {"cpu": "1"}}, "spec.overhead"),
        ({"hostPID": True}, "spec.hostPID"),
        ({"hostUsers": False}, "spec.hostUsers"),
        ({"runtimeClassName": "gvisor"}, "spec.runtimeClassName"),
        ({"schedulerName": "mine"}, "spec.schedulerName"),
        ({"affinity": ANTI}, "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"),
        ({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}, "spec.securityContext.sysctls"),
        (
            {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "1"}}}]},
            "spec.containers[0].resources.limits[nvidia.com/gpu]",
        ),
        (
            {"initContainers": [{"name": "a", "securityContext": {"seccompProfile": {"type": "Localhost"}}}]},
            "spec.initContainers[0].securityContext.seccompProfile",
        ),
    ],
)
def test_pods_and_their_templates(spec: Object, path: str) -> None:
    pod = _pod(**spec)
    assert _paths(kinds.POD, pod) == [path]
    owner = {"metadata": {}, "spec": {"template": pod}}
    for kind in (kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.DAEMON_SET, kinds.STATEFUL_SET, kinds.JOB):
        assert _paths(kind, owner) == [f"spec.template.{path}"]
    cron = {"metadata": {}, "spec": {"jobTemplate": {"spec": owner["spec"]}}}
    assert _paths(kinds.CRON_JOB, cron) == [f"spec.jobTemplate.spec.template.{path}"]


def test_what_is_acted_upon_or_harmless_is_not_warned_about() -> None:
    spec = {
        "schedulerName": "default-scheduler",
        "hostUsers": True,
        "hostNetwork": False,
        "securityContext": {"runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{}]}},
        "containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "tty": True}],
    }
    assert not unenforced.warnings(kinds.POD, _pod(**spec))
    assert not unenforced.warnings(kinds.CONFIG_MAP, {"metadata": {}})


def test_an_old_ingress_class_annotation() -> None:
    ingress = {"metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {}}
    (text,) = unenforced.warnings(kinds.INGRESS, ingress)
    assert "is deprecated, please use 'spec.ingressClassName' instead" in text


def test_jobs_sets_and_claims() -> None:
    rules = [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]
    job = {"podFailurePolicy": {"rules": rules}, "backoffLimitPerIndex": 1, "successPolicy": {"rules": [{}]}}
    assert not _paths(kinds.JOB, {"metadata": {}, "spec": job})
    policy = {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"}}
    assert not _paths(kinds.STATEFUL_SET, {"metadata": {}, "spec": policy})
    claim = {"metadata": {}, "spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}}
    assert _paths(kinds.PERSISTENT_VOLUME_CLAIM, claim) == ["spec.dataSource"]
