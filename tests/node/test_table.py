"""One table of pods and what becomes of them, in Kubernetes' words, the same under every runtime."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import engines
import house as houses
import pytest
import pytest_asyncio
from house import condition, state

from fairlead.base import clock
from fairlead.node import containers, docker, docker_pause, podman, processes
from fairlead.node.network import loopback

LIMITS = {"nofile": (1024, 1024), "nproc": (1024, 1024)}
STAY = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"


def app(sh=STAY, name="app", **more):
    return {"name": name, "image": "localhost/fltest:1", "command": ["/bin/sh", "-c", sh], **more}


def execs(*argv, **more):
    return {"exec": {"command": list(argv)}, "periodSeconds": 1, "timeoutSeconds": 5, **more}


@dataclass
class Row:
    """A pod, and what must be seen: `state` is the app's (reason), `restarts` at least, `events` in this order."""

    name: str
    spec: dict[str, Any]
    phase: str
    ready: str
    state: str
    restarts: int = 0
    last: str = ""
    exit_code: int | None = None
    initialized: str = "True"
    message: str = ""
    init: dict[str, str] = field(default_factory=dict)
    events: tuple[str, ...] = ("Scheduled", "Pulled", "Created", "Started")


ROWS = [
    Row("runs", {"containers": [app()]}, "Running", "True", "running"),
    Row(
        "succeeds", {"restartPolicy": "Never", "containers": [app("exit 0")]},
        "Succeeded", "False", "Completed", exit_code=0,
    ),
    Row("fails", {"restartPolicy": "Never", "containers": [app("exit 3")]}, "Failed", "False", "Error", exit_code=3),
    Row(
        "one-of-two-fails", {"restartPolicy": "Never", "containers": [app("exit 3"), app("exit 0", name="other")]},
        "Failed", "False", "Error", exit_code=3,
    ),
    Row(
        "crash-loops", {"containers": [app("exit 1")]},
        "Running", "False", "CrashLoopBackOff", restarts=1, last="Error",
        message="back-off 10s restarting failed container=app",
        events=("Scheduled", "Pulled", "Created", "Started", "Pulled", "Created", "Started", "BackOff"),
    ),
    Row(
        "on-failure", {"restartPolicy": "OnFailure", "containers": [app("exit 2")]},
        "Running", "False", "CrashLoopBackOff", restarts=1, last="Error",
    ),
    Row(
        "on-failure-done", {"restartPolicy": "OnFailure", "containers": [app("exit 0")]},
        "Succeeded", "False", "Completed", exit_code=0,
    ),
    Row(
        "init-then-app",
        {"initContainers": [app("exit 0", name="one"), app("exit 0", name="two")], "containers": [app()]},
        "Running", "True", "running", init={"one": "Completed", "two": "Completed"},
    ),
    Row(
        "init-fails", {"restartPolicy": "Never", "initContainers": [app("exit 4", name="one")], "containers": [app()]},
        "Failed", "False", "PodInitializing", initialized="False", init={"one": "Error"},
    ),
    Row(
        "init-loops", {"initContainers": [app("exit 4", name="one")], "containers": [app()]},
        "Pending", "False", "PodInitializing", initialized="False", init={"one": "CrashLoopBackOff"},
        events=("Scheduled", "Pulled", "Created", "Started", "BackOff"),
    ),
    Row(
        "sidecar", {"initContainers": [app(name="side", restartPolicy="Always")], "containers": [app()]},
        "Running", "True", "running", init={"side": "running"},
    ),
    Row(
        "sidecar-ends-with-the-job",
        {"restartPolicy": "Never", "containers": [app("exit 0")],
         "initContainers": [app(name="side", restartPolicy="Always")], "terminationGracePeriodSeconds": 5},
        "Succeeded", "False", "Completed", init={"side": "Completed"},
    ),
    Row(
        "no-such-command", {"containers": [{**app(), "command": ["/no/such/thing"]}]},
        "Running", "False", "CrashLoopBackOff", restarts=1, last="StartError",
        events=("Scheduled", "Pulled", "Failed", "Pulled", "Failed", "BackOff"),
    ),
    Row(
        "no-config-map", {"containers": [app(envFrom=[{"configMapRef": {"name": "none"}}])]},
        "Pending", "False", "CreateContainerConfigError", message='configmap "none" not found',
        events=("Scheduled", "Failed"),
    ),
    Row(
        "not-ready", {"containers": [app(readinessProbe=execs("/bin/false", failureThreshold=1))]},
        "Running", "False", "running", events=("Scheduled", "Pulled", "Created", "Started", "Unhealthy"),
    ),
    Row("ready", {"containers": [app(readinessProbe=execs("/bin/true"))]}, "Running", "True", "running"),
    Row(
        "not-alive",
        {"terminationGracePeriodSeconds": 1,
         "containers": [app(livenessProbe=execs("/bin/false", failureThreshold=1))]},
        "Running", "True", "running", restarts=1, last="",
        events=("Scheduled", "Pulled", "Created", "Started", "Unhealthy", "Killing", "Pulled", "Created", "Started"),
    ),
    Row(
        "not-alive-by-the-probes-own-grace",
        {"terminationGracePeriodSeconds": 60, "containers": [app(
            "trap 'sleep 1.5; exit 0' TERM; while :; do sleep 0.1; done",
            livenessProbe=execs("/bin/false", failureThreshold=1, terminationGracePeriodSeconds=1),
        )]},
        "Running", "True", "running", restarts=1, last="Error",
        events=("Scheduled", "Pulled", "Created", "Started", "Unhealthy", "Killing", "Pulled", "Created", "Started"),
    ),
    Row(
        "container-never-restarts", {"containers": [app("exit 3", restartPolicy="Never"), app(name="other")]},
        "Running", "False", "Error", exit_code=3,
    ),
    Row(
        "container-restarts-by-a-rule",
        {"restartPolicy": "Never", "containers": [app("exit 42", restartPolicy="Never", restartPolicyRules=[
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}])]},
        "Running", "False", "CrashLoopBackOff", restarts=1, last="Error",
    ),
    Row(
        "past-its-deadline", {"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1, "containers": [app()]},
        "Failed", "False", "", events=("Scheduled", "Pulled", "Created", "Started", "Killing"),
    ),
    Row(
        "post-start-fails",
        {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
         "containers": [app(lifecycle={"postStart": {"exec": {"command": ["/bin/false"]}}})]},
        "Succeeded", "False", "Completed",
        events=("Scheduled", "Pulled", "Created", "Started", "FailedPostStartHook", "Killing"),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def podman_socket():
    if engines.missing():
        pytest.skip(engines.missing())
    with engines.service() as path:
        yield path


@pytest.fixture(scope="module")
def docker_socket():
    if engines.missing("dockerd", "containerd"):
        pytest.skip(engines.missing("dockerd", "containerd"))
    with engines.docker_service() as path:
        yield path


@pytest_asyncio.fixture(params=["process", "podman", "docker"])
async def node(request):
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    network = loopback.LoopbackNetwork("tests")
    await network.start()
    made = houses.House(folder, network=network)
    if request.param == "podman":
        path = request.getfixturevalue("podman_socket")
        inner = processes.ProcessRuntime(processes.ProcessSettings(folder / "pods", houses.engine()))
        engine = podman.Podman(path, podman.EngineSettings(LIMITS))
        made.containers = containers.ContainerRuntime(engine, inner, timer=clock.SystemClock())
    if request.param == "docker":
        engine = docker.Docker(request.getfixturevalue("docker_socket"), podman.EngineSettings(LIMITS))
        pauses = docker_pause.PauseRuntime(engine, folder / "pods")
        made.containers = containers.ContainerRuntime(
            engine, pauses, timer=clock.SystemClock(), network=docker_pause.network
        )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def word(entry):
    """`running`, or the reason of the state."""
    found = entry.get("state") or {}
    return next((content.get("reason", name) for name, content in found.items()), "")


def matches(row, pod):
    seen = state(pod)
    status = pod.get("status") or {}
    return (
        status.get("phase") == row.phase
        and condition(pod, "Ready") == row.ready
        and condition(pod, "Initialized") == row.initialized
        and (not row.state or word(seen) == row.state)
        and seen.get("restartCount", 0) >= row.restarts
        and (not row.last or (seen.get("lastState") or {}).get("terminated", {}).get("reason") == row.last)
        and all(word(state(pod, name)) == expected for name, expected in row.init.items())
        and condition(pod, "PodScheduled") == "True"
    )


def in_order(wanted, told):
    """Whether `wanted` is a subsequence of what was told (a repeated Event is told once, with a count)."""
    rest = iter(told)
    return all(any(word == seen for seen in rest) for word in dict.fromkeys(wanted))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_what_becomes_of_a_pod(node, row):
    annotations = {"fairlead.dev/runtime": "container"} if node.containers is not None else {}
    await node.create(row.name, row.spec, annotations=annotations)
    pod = await node.until(row.name, lambda pod: matches(row, pod))
    seen = state(pod)
    if row.exit_code is not None:
        assert seen["state"]["terminated"]["exitCode"] == row.exit_code
    if row.message:
        assert row.message in seen["state"]["waiting"]["message"]
    async with asyncio.timeout(15):
        while not in_order(row.events, [reason for reason, _ in await node.events(row.name)]):
            await asyncio.sleep(0.05)
