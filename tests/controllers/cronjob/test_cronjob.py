"""CronJobs: schedules as Kubernetes reads them, Jobs made once each."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api import kinds
from fairlead.controllers.cronjob import schedule
from fairlead.testing import interruption, workloads

Object = dict[str, Any]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "now", "following"),
    [
        ("*/15 * * * *", "2026-07-09 14:45", "2026-07-09 15:00"),
        ("*/15 * * * *", "2026-07-09 14:59:59", "2026-07-09 15:00"),
        ("20-35/15 * * * *", "2026-07-09 14:45:51", "2026-07-09 15:20"),
        ("15/35 20-23/2 * * *", "2026-07-09 22:51", "2026-07-10 20:15"),
        ("0 0 29 feb *", "2026-01-01 00:00", "2028-02-29 00:00"),
        ("0 12 * * mon-fri", "2026-11-27 12:00", "2026-11-30 12:00"),
        ("0 0 13 * 5", "2026-11-01 00:00", "2026-11-06 00:00"),
        ("0 0 * * 7", "2026-11-26 00:00", "2026-11-29 00:00"),
        ("@hourly", "2026-11-26 20:13", "2026-11-26 21:00"),
        ("@monthly", "2026-12-15 00:00", "2027-01-01 00:00"),
        ("59 23 31 dec *", "2026-12-31 23:59", "2027-12-31 23:59"),
    ],
)
def test_the_next_time(text: str, now: str, following: str) -> None:
    assert schedule.parse(text).after(at(now)) == at(following)


def test_time_zones() -> None:
    plan = schedule.parse("30 9 * * *", time_zone="America/New_York")
    assert plan.after(at("2026-07-01 00:00")) == at("2026-07-01 13:30")
    assert plan.after(at("2026-12-01 00:00")) == at("2026-12-01 14:30")


def test_an_hour_that_the_summer_skips_does_not_come() -> None:
    plan = schedule.parse("30 2 * * *", time_zone="Europe/Berlin")
    assert plan.after(at("2026-03-28 20:00")) == at("2026-03-30 00:30")


BROKEN = ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "0 0 30 feb *"]


@pytest.mark.parametrize("text", [*BROKEN, "@every 1h", "1-2-3 * * * *", "² * * * *"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(schedule.ScheduleError):
        schedule.parse(text)


def test_an_unknown_time_zone_is_refused() -> None:
    for zone in ("Mars/Base", "../etc/passwd"):
        with pytest.raises(schedule.ScheduleError):
            schedule.parse("* * * * *", time_zone=zone)


@given(
    minute=st.sampled_from(["*", "*/7", "5,50", "10-20/3"]),
    hour=st.sampled_from(["*", "*/5", "23", "0-3"]),
    day=st.sampled_from(["*", "1,15", "31"]),
    weekday=st.sampled_from(["*", "1-5", "0"]),
    now=st.integers(1_700_000_000, 1_900_000_000),
)
def test_latest_and_after_agree(minute: str, hour: str, day: str, weekday: str, now: int) -> None:
    plan = schedule.parse(f"{minute} {hour} {day} * {weekday}")
    following = plan.after(now)
    assert following is not None and following > now
    assert plan.latest(following) == following
    before = plan.latest(following - 1)
    assert before is not None and before <= now
    assert plan.after(before) == following


def cron(**spec: Any) -> Object:
    template = {"spec": workloads.workload("Job")["spec"]}
    body = {"schedule": "*/1 * * * *", "jobTemplate": template, **spec}
    return {"metadata": {"name": "tick", "namespace": "default"}, "spec": body}


async def jobs(cluster: workloads.FakeCluster) -> list[str]:
    return [job["metadata"]["name"] for job in (await cluster.client.list(kinds.JOB, namespace="default")).items]


async def test_a_job_a_minute_and_a_short_history() -> None:
    async with workloads.FakeCluster() as cluster:
        cluster.kubelet.outcome = lambda pod: (1.0, 0)
        await cluster.client.create(kinds.CRON_JOB, cron(successfulJobsHistoryLimit=2))
        await cluster.settle(60)
        assert len(await jobs(cluster)) == 1
        await cluster.settle(300)
        assert len(await jobs(cluster)) in (2, 3)
        found = await cluster.client.get(kinds.CRON_JOB, "tick", namespace="default")
        assert found["status"]["lastScheduleTime"] and found["status"]["lastSuccessfulTime"]


@pytest.mark.parametrize(("policy", "expected"), [("Allow", 4), ("Forbid", 1), ("Replace", 1)])
async def test_concurrency_policies(policy: str, expected: int) -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.CRON_JOB, cron(concurrencyPolicy=policy))
        await cluster.settle(240)
        assert len(await jobs(cluster)) == expected
        found = await cluster.client.get(kinds.CRON_JOB, "tick", namespace="default")
        assert len(found["status"]["active"]) == expected


async def test_suspended_and_too_late_times_are_left_out() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.CRON_JOB, cron(suspend=True, startingDeadlineSeconds=5))
        await cluster.settle(130)
        assert await jobs(cluster) == []
        await cluster.client.patch(kinds.CRON_JOB, "tick", {"spec": {"suspend": False}}, namespace="default")
        await cluster.settle(1)
        late = len(await jobs(cluster))
        await cluster.settle(60)
        assert late == 0 or (await jobs(cluster)) != []
        assert len(await jobs(cluster)) == late + 1


async def test_a_wrong_schedule_is_told() -> None:
    async with workloads.FakeCluster() as cluster:
        await cluster.client.create(kinds.CRON_JOB, cron(schedule="nonsense"))
        await cluster.settle(1)
        events = (await cluster.client.list(kinds.EVENT)).items
        assert any(event["reason"] == "InvalidSchedule" for event in events)


async def test_interrupted_after_every_single_write_no_minute_runs_twice() -> None:
    for after in range(1, 8):
        async with workloads.FakeCluster() as cluster:
            cluster.kubelet.outcome = lambda pod: (1.0, 0)
            await cluster.settle(1)
            cluster.door = interruption.Interruption(cluster.server, after=after)
            await cluster.client.create(kinds.CRON_JOB, cron(successfulJobsHistoryLimit=10))
            await cluster.settle(65)
            cluster.door = cluster.server
            await cluster.restart()
            await cluster.settle(20)
            names = await jobs(cluster)
            assert len(names) == len(set(names)) == 1, f"interrupted after write {after}"
