"""Jobs run until enough pods have succeeded, and count each end exactly once."""

from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.client import errors
from fairlead.controllers import conditions
from fairlead.controllers.job import indexes
from fairlead.testing import interruption, workloads

Object = dict[str, Any]


def job(**spec: Any) -> Object:
    return workloads.workload("Job", "work", **spec)


async def get(cluster: workloads.FakeCluster) -> Object:
    return await cluster.client.get(kinds.JOB, "work", namespace="default")


def reason(found: Object, type_: str) -> str | None:
    condition = conditions.find(found, type_)
    return condition["reason"] if condition and condition["status"] == "True" else None


async def test_one_pod_that_succeeds_completes_the_job() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (1.0, 0)
        await cluster.client.create(kinds.JOB, job())
        await cluster.settle(0.5)
        found = await get(cluster)
        assert (found["status"]["active"], found["status"]["ready"]) == (1, 1)
        assert found["status"]["startTime"]
        await cluster.settle(2)
        found = await get(cluster)
        assert found["status"]["succeeded"] == 1 and not found["status"]["active"]
        assert reason(found, "Complete") == "CompletionsReached"
        assert found["status"]["completionTime"]
        assert not found["status"]["uncountedTerminatedPods"]
        (pod,) = await cluster.pods()
        assert "finalizers" not in pod["metadata"]


async def test_completions_run_at_most_parallelism_at_a_time() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (1.0, 0)
        await cluster.client.create(kinds.JOB, job(completions=5, parallelism=2))
        for _ in range(20):
            await cluster.settle(0.5)
            running = [pod for pod in await cluster.pods() if pod["status"]["phase"] in ("Pending", "Running")]
            assert len(running) <= 2
        found = await get(cluster)
        assert found["status"]["succeeded"] == 5
        assert len(await cluster.pods()) == 5


async def test_indexed_pods_know_their_index() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (1.0, 0)
        await cluster.client.create(kinds.JOB, job(completions=4, parallelism=4, completionMode="Indexed"))
        await cluster.settle(3)
        found = await get(cluster)
        assert found["status"]["completedIndexes"] == "0-3"
        assert reason(found, "Complete")
        pods = await cluster.pods()
        assert sorted(indexes.of(pod) or 0 for pod in pods) == [0, 1, 2, 3]
        assert sorted(pod["spec"]["hostname"] for pod in pods) == [f"work-{index}" for index in range(4)]
        assert pods[0]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"


async def test_failures_are_retried_later_and_later_then_given_up() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (0.0, 1)
        await cluster.client.create(kinds.JOB, job(backoffLimit=2))
        await cluster.settle(5)
        assert len(await cluster.pods()) == 1
        await cluster.settle(10)
        assert len(await cluster.pods()) == 2
        await cluster.settle(10)
        assert len(await cluster.pods()) == 2
        await cluster.settle(20)
        found = await get(cluster)
        assert found["status"]["failed"] == 3
        assert reason(found, "Failed") == "BackoffLimitExceeded"


@pytest.mark.parametrize(("limit", "restarts", "over"), [(2, 1, False), (2, 2, True), (0, 0, False), (0, 1, True)])
async def test_restarts_of_a_pod_that_restarts_itself_count_against_the_limit(
    limit: int, restarts: int, *, over: bool
) -> None:
    wanted = job(backoffLimit=limit)
    wanted["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.JOB, wanted)
        await cluster.settle(1)
        (pod,) = await cluster.pods()
        init = {"name": "init", "restartCount": min(restarts, 1)}
        counts = [{"name": "main", "restartCount": max(0, restarts - 1)}]
        status = {**pod["status"], "initContainerStatuses": [init], "containerStatuses": counts}
        await cluster.client.update(kinds.POD, {**pod, "status": status}, subresource="status")
        await cluster.settle(1)
        assert reason(await get(cluster), "Failed") == ("BackoffLimitExceeded" if over else None)
        assert len(await cluster.pods()) == (0 if over else 1)


async def test_a_deadline_ends_it() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.JOB, job(activeDeadlineSeconds=10))
        await cluster.settle(5)
        assert reason(await get(cluster), "Failed") is None
        await cluster.settle(10)
        assert reason(await get(cluster), "Failed") == "DeadlineExceeded"
        assert await cluster.pods() == []


async def test_suspend_takes_the_pods_away_and_resume_brings_them_back() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.JOB, job(suspend=True))
        await cluster.settle(1)
        assert await cluster.pods() == []
        assert reason(await get(cluster), "Suspended") == "JobSuspended"
        await cluster.client.patch(kinds.JOB, "work", {"spec": {"suspend": False}}, namespace="default")
        await cluster.settle(1)
        assert len(await cluster.pods()) == 1
        assert reason(await get(cluster), "Suspended") is None
        await cluster.client.patch(kinds.JOB, "work", {"spec": {"suspend": True}}, namespace="default")
        await cluster.settle(2)
        assert await cluster.pods() == []
        assert "startTime" not in (await get(cluster))["status"]


@pytest.mark.parametrize("change", [{"suspend": True}, {"parallelism": 1}])
async def test_pods_that_are_sent_away_have_not_failed(change: Object) -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.JOB, job(parallelism=3, completions=3, backoffLimit=0))
        await cluster.settle(1)
        assert len(await cluster.pods()) == 3
        await cluster.client.patch(kinds.JOB, "work", {"spec": change}, namespace="default")
        await cluster.settle(2)
        found = await get(cluster)
        assert not found["status"]["failed"] and reason(found, "Failed") is None
        assert len(await cluster.pods()) == (0 if "suspend" in change else 1)


@pytest.mark.parametrize(("action", "ends"), [("FailJob", "PodFailurePolicy"), ("Ignore", None)])
async def test_a_failure_policy_judges_exit_codes(action: str, ends: str | None) -> None:
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (0.0, 42)
        await cluster.client.create(kinds.JOB, job(backoffLimit=0, podFailurePolicy={"rules": [rule]}))
        await cluster.settle(5)
        found = await get(cluster)
        assert reason(found, "Failed") == ends
        assert found["status"].get("failed", 0) == (0 if action == "Ignore" else 1)
        if ends:
            condition = conditions.find(found, "Failed")
            assert condition is not None and "failed with exit code 42" in condition["message"]


async def test_a_finished_job_goes_after_its_ttl() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (0.0, 0)
        await cluster.client.create(kinds.JOB, job(ttlSecondsAfterFinished=10))
        await cluster.settle(5)
        assert reason(await get(cluster), "Complete")
        await cluster.settle(10)
        with pytest.raises(errors.ApiError):
            await get(cluster)
        assert await cluster.pods() == []


async def test_interrupted_after_every_single_write_it_counts_each_pod_once() -> None:
    after = 1
    while True:
        async with workloads.FakeCluster() as cluster:
            cluster.kubelet.outcome = lambda pod: (0.2, 0)
            cluster.door = cut = interruption.Interruption(cluster.server, after=after)
            await cluster.restart()
            await cluster.client.create(kinds.JOB, job(completions=3, parallelism=2))
            await cluster.settle(1)
            cluster.door = cluster.server
            await cluster.restart()
            await cluster.settle(3)
            found = await get(cluster)
            assert found["status"]["succeeded"] == 3, f"interrupted after write {after}"
            assert reason(found, "Complete")
            assert len(await cluster.pods()) == 3
        if cut.writes < after:
            break
        after += 1
    assert after > 10


def test_indexes_are_written_as_ranges() -> None:
    assert indexes.render([5, 0, 1, 2, 7, 8]) == "0-2,5,7-8"
    assert indexes.parse("0-2,5,7-8") == {0, 1, 2, 5, 7, 8}
    assert indexes.parse("") == indexes.parse("x,1-y") == set()


def _index(pod: Object) -> int:
    return int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])


async def test_an_index_fails_alone_past_its_own_limit_and_the_others_go_on() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (1.0, 1 if _index(pod) == 1 else 0)
        spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1}
        await cluster.client.create(kinds.JOB, job(**spec, backoffLimit=100))
        await cluster.settle(3)
        found = await get(cluster)
        assert (found["status"]["completedIndexes"], found["status"].get("failedIndexes", "")) == ("0,2", "")
        counts = [
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"]
            for pod in await cluster.pods()
            if _index(pod) == 1
        ]
        assert counts == ["0"]  # ten seconds have not passed yet
        for _ in range(6):
            await cluster.settle(5)
        found = await get(cluster)
        assert found["status"]["failedIndexes"] == "1"
        assert reason(found, "Failed") == "FailedIndexes"
        assert found["status"]["failed"] == 2
        assert all("finalizers" not in pod["metadata"] for pod in await cluster.pods())


async def test_fail_index_and_the_most_failed_indexes_end_a_job_early() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (1.0, 42 if _index(pod) < 2 else 0)
        rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
        spec = {
            "completions": 5, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 5,
            "maxFailedIndexes": 1, "podFailurePolicy": {"rules": [rule]},
        }  # fmt: skip
        await cluster.client.create(kinds.JOB, job(**spec, backoffLimit=100))
        await cluster.settle(6)
        found = await get(cluster)
        assert found["status"]["failedIndexes"] == "0-1"
        assert reason(found, "Failed") == "MaxFailedIndexesExceeded"


async def test_a_success_policy_ends_a_job_that_has_enough() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (1.0 if _index(pod) in (0, 2) else 1000.0, 0)
        policy = {"rules": [{"succeededIndexes": "0,2,4", "succeededCount": 2}]}
        spec = {"completions": 5, "parallelism": 5, "completionMode": "Indexed", "successPolicy": policy}
        await cluster.client.create(kinds.JOB, job(**spec))
        await cluster.settle(10)
        found = await get(cluster)
        assert reason(found, "SuccessCriteriaMet") == "SuccessPolicy"
        assert reason(found, "Complete") == "SuccessPolicy"
        assert found["status"]["completedIndexes"] == "0,2"
