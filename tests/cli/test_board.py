"""Which pods are shown while something comes up: its own, of whatever namespace, and nobody else's."""

from __future__ import annotations

from typing import Any

from fairlead.cli import board


def pod(namespace: str, name: str, kind: str, owner: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "ownerReferences": [{"kind": kind, "name": owner}]}
    return {"metadata": metadata, "status": {}}


def test_a_pod_belongs_to_itself_its_controller_and_the_deployment_behind_it() -> None:
    assert board.owners(pod("default", "web-5f-x", "ReplicaSet", "web-5f")) == {
        "pod/web-5f-x", "replicaset/web-5f", "deployment/web",
    }  # fmt: skip
    assert board.owners(pod("shop", "db-0", "StatefulSet", "db")) == {"pod/shop/db-0", "statefulset/shop/db"}


def test_equal_names_of_two_namespaces_are_two_rows() -> None:
    rows = [board.pod(pod(space, "db-0", "StatefulSet", "db")).title for space in ("default", "shop")]
    assert rows == ["pod/db-0", "pod/shop/db-0"]
    obj = {"metadata": {"namespace": "shop", "name": "db"}, "spec": {"replicas": 0}}
    assert board.workload(obj, "StatefulSet").title == "statefulset/shop/db"


def test_an_init_container_that_fails_again_and_again_is_the_pods_failure() -> None:
    obj = pod("default", "web-0", "StatefulSet", "web")
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    obj["status"] = {
        "phase": "Pending",
        "initContainerStatuses": [{"name": "init", "state": waiting}],
        "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }
    assert board.pod(obj) == board.Row("pod/web-0", "failed", "CrashLoopBackOff: back-off 10s")
