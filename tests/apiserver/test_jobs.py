"""A Job selects its own pods: by a generated selector, or by the writer's where `manualSelector` says so."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.client import errors, rest

UID = "batch.kubernetes.io/controller-uid"


def job(name: str = "once", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    template = {"metadata": {"labels": labels} if labels else {}, "spec": pod}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


async def test_a_new_job_selects_its_own_pods_by_its_uid(client: rest.RestClient) -> None:
    made = await client.create(kinds.JOB, job(labels={"app": "a"}), namespace="default")
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {UID: uid}}
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels == {
        UID: uid, "batch.kubernetes.io/job-name": "once", "controller-uid": uid, "job-name": "once", "app": "a"
    }  # fmt: skip


async def test_an_applied_job_may_be_applied_again(client: rest.RestClient) -> None:
    for _ in range(2):
        made = await client.patch(
            kinds.JOB, "once", {"apiVersion": "batch/v1", "kind": "Job", **job()},
            namespace="default", patch_type="apply", field_manager="test",
        )  # fmt: skip
    assert made["spec"]["selector"] == {"matchLabels": {UID: made["metadata"]["uid"]}}


async def test_the_selector_or_labels_of_another_job_are_refused(client: rest.RestClient) -> None:
    made = await client.create(kinds.JOB, job(), namespace="default")
    copied = {"metadata": {"name": "copy"}, "spec": made["spec"]}
    with pytest.raises(errors.ApiError) as refused:
        await client.create(kinds.JOB, copied, namespace="default")
    assert refused.value.code == 422
    fields = {cause["field"] for cause in refused.value.status["details"]["causes"]}
    assert {"spec.selector", f"spec.template.metadata.labels[{UID}]"} <= fields


async def test_a_manual_selector_is_the_writers(client: rest.RestClient) -> None:
    mine = {"matchLabels": {"app": "a"}}
    made = await client.create(
        kinds.JOB, job(labels={"app": "a"}, manualSelector=True, selector=mine), namespace="default"
    )
    assert made["spec"]["selector"] == mine and made["spec"]["template"]["metadata"]["labels"] == {"app": "a"}
    with pytest.raises(errors.ApiError, match=r"spec\.selector: Required value"):
        await client.create(kinds.JOB, job("none", manualSelector=True), namespace="default")
