"""What to do with a pod, as tables: specs and records in, starts and ends out."""

import pytest

from fairlead.node import lifecycle, records

NOW = 1_000_000.0


def pod(*, policy="Always", init=(), apps=("app",), **spec):
    return {
        "metadata": {"name": "p", "namespace": "d", "uid": "u"},
        "spec": {
            "restartPolicy": policy,
            "initContainers": [{"name": name, **more} for name, more in init],
            "containers": [name if isinstance(name, dict) else {"name": name} for name in apps],
            **spec,
        },
    }


def record(**containers):
    found = records.PodRecord("u", started_at=NOW - 100)
    for name, what in containers.items():
        known = found.container(name)
        if what == "running":
            known.pid, known.started = 7, True
        elif what == "unstarted":
            known.pid = 7
        elif what is not None:
            known.ended = records.Ended(what, "Error", NOW - 5, NOW - 1)
    return found


SIDECAR = {"restartPolicy": "Always"}


def own(policy, operator="In", *codes):
    """A container with a restart policy of its own, and a rule for those exit codes."""
    rules = [{"action": "Restart", "exitCodes": {"operator": operator, "values": list(codes)}}] if codes else []
    return {"name": "app", "restartPolicy": policy, "restartPolicyRules": rules}


@pytest.mark.parametrize(
    ("spec", "known", "start", "kill", "finished"),
    [
        (pod(), record(), ["app"], [], False),
        (pod(apps=("a", "b")), record(), ["a", "b"], [], False),
        (pod(), record(app="running"), [], [], False),
        (pod(), record(app=1), ["app"], [], False),
        (pod(policy="Never"), record(app=1), [], [], True),
        (pod(policy="OnFailure"), record(app=1), ["app"], [], False),
        (pod(policy="OnFailure"), record(app=0), [], [], True),
        (pod(policy="Always"), record(app=0), ["app"], [], False),
        (pod(policy="Always", apps=(own("Never"),)), record(app=0), [], [], True),
        (pod(policy="Always", apps=(own("OnFailure"), "b")), record(app=0, b="running"), [], [], False),
        (pod(policy="Never", apps=(own("Always"),)), record(app=0), ["app"], [], False),
        (pod(policy="Never", apps=(own("Never", "In", 42),)), record(app=42), ["app"], [], False),
        (pod(policy="Never", apps=(own("Never", "In", 42),)), record(app=1), [], [], True),
        (pod(policy="Never", apps=(own("Never", "NotIn", 42),)), record(app=1), ["app"], [], False),
        (pod(policy="Never", init=[("i", {"restartPolicy": "OnFailure"})]), record(i=1), ["i"], [], False),
        (pod(init=[("i", {}), ("j", {})]), record(), ["i"], [], False),
        (pod(init=[("i", {}), ("j", {})]), record(i="running"), [], [], False),
        (pod(init=[("i", {}), ("j", {})]), record(i=0), ["j"], [], False),
        (pod(init=[("i", {}), ("j", {})]), record(i=0, j=0), ["app"], [], False),
        (pod(init=[("i", {})]), record(i=1), ["i"], [], False),
        (pod(policy="Never", init=[("i", {})]), record(i=1), [], [], True),
        (pod(init=[("s", SIDECAR)]), record(), ["s"], [], False),
        (pod(init=[("s", SIDECAR), ("j", {})]), record(s="unstarted"), [], [], False),
        (pod(init=[("s", SIDECAR), ("j", {})]), record(s="running"), ["j"], [], False),
        (pod(init=[("s", SIDECAR)]), record(s="running"), ["app"], [], False),
        (pod(policy="Never", init=[("s", SIDECAR)]), record(s="running", app=0), [], ["s"], False),
        (pod(policy="Never", init=[("s", SIDECAR)]), record(s=137, app=0), [], [], True),
        (pod(activeDeadlineSeconds=100), record(app="running"), [], ["app"], False),
        (pod(policy="Never", apps=("a", "b")), record(a=0, b="running"), [], [], False),
    ],
)
def test_what_happens_next(spec, known, start, kill, finished):
    if any(container.ended and container.name == "app" for container in known.containers.values()):
        known.initialized = True
    decision = lifecycle.decide(spec, known, NOW)
    assert (decision.start, list(decision.kill), decision.finished) == (start, kill, finished)


def test_a_sidecar_that_dies_is_restarted_beside_running_apps():
    known = record(s=1, app="running")
    known.initialized = True
    assert lifecycle.decide(pod(init=[("s", SIDECAR)]), known, NOW).start == ["s"]


def test_restarts_wait_ten_seconds_doubled_to_five_minutes_and_forget_after_ten():
    known = records.ContainerRecord("app")
    waits, now = [], NOW
    for _ in range(8):
        known.ended = records.Ended(1, "Error", now, now)
        decision = lifecycle.Decision()
        lifecycle._restart_if_due(known, decision, now)
        waits.append((decision.wake_at or now) - now)
        now += waits[-1]
        again = lifecycle.Decision()
        lifecycle._restart_if_due(known, again, now)
        assert again.start == ["app"]
        lifecycle.count_backoff(known, now)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    known.ended = records.Ended(1, "Error", now, now + 601)
    decision = lifecycle.Decision()
    lifecycle._restart_if_due(known, decision, now + 601)
    assert decision.start == ["app"]


def test_a_wait_is_called_crash_loop_back_off():
    known = record(app=1)
    known.container("app").backoff_seconds, known.container("app").backoff_at = 20.0, NOW - 30
    decision = lifecycle.decide(pod(), known, NOW)
    assert decision.start == []
    assert decision.wake_at == NOW - 1 + 20
    assert known.container("app").waiting_reason == "CrashLoopBackOff"


def test_a_container_whose_image_was_changed_is_restarted():
    known = record(app="running")
    known.container("app").image = "web:1"
    spec = pod()
    spec["spec"]["containers"][0]["image"] = "web:2"
    assert list(lifecycle.decide(spec, known, NOW).kill) == ["app"]
    spec["spec"]["containers"][0]["image"] = "web:1"
    assert lifecycle.decide(spec, known, NOW).kill == {}


@pytest.mark.parametrize("retry_at", [NOW + 299, NOW + 3600])
def test_nobody_waits_for_an_hour_because_the_clock_was_set_back(retry_at):
    known = record(app=1)
    known.containers["app"].retry_at = retry_at
    assert lifecycle.decide(pod(), known, NOW).start == (["app"] if retry_at > NOW + 300 else [])
