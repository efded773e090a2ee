"""The check suite that every runtime passes: under a shim (the real one or the fake), with Podman, and with Docker (its
API as Podman serves it where no daemon can be had). In a user namespace it is that of a Podman of our own
(`test_own_podman` runs it there)."""

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import engines
import house as houses
import pytest
import pytest_asyncio

from fairlead.base import clock, privilege
from fairlead.node import (
    containers,
    docker,
    docker_pause,
    folders,
    image_stores,
    own_podman,
    podman,
    processes,
    runtime,
)

FLAG = f"/tmp/fairlead-test-runtimes-{os.getpid()}"  # a container's own /tmp, or the machine's
LIMITS = {"nofile": (1024, 1024), "nproc": (1024, 1024)}
ENGINES = ("rootless",) if privilege.in_own_namespace() else ("podman", "docker")
KINDS = ENGINES if privilege.in_own_namespace() else ("process", *ENGINES)


class Listener:
    """Keeps what a sandbox says."""

    def __init__(self):
        self.exits = asyncio.Queue()
        self.losses = asyncio.Queue()

    def exited(self, exit):
        self.exits.put_nowait(exit)

    def lost(self, message):
        self.losses.put_nowait(message)


@dataclass
class Bench:
    """One runtime under test."""

    folder: Path
    make: Callable[[], runtime.Runtime]
    image: str
    attempts: itertools.count = field(default_factory=itertools.count)

    def spec(self):
        return runtime.SandboxSpec("u1", "default", "web", "web", own_network=False)

    def plan(self, sh, **more):
        fields = {
            "name": "app", "image": self.image, "argv": ("/bin/sh", "-c", sh), "env": {"PATH": "/bin:/usr/bin"},
            "cwd": "/tmp", "log": str(self.folder / "u1" / "logs" / "app" / "0.log"), "attempt": next(self.attempts),
        }  # fmt: skip
        return runtime.ContainerPlan(**{**fields, **more})

    def log(self):
        text = (self.folder / "u1" / "logs" / "app" / "0.log").read_text()
        return [line.split(" ", 3)[1:] for line in text.splitlines()]


@pytest.fixture(scope="module")
def podman_socket():
    if engines.missing():
        pytest.skip(engines.missing())
    with engines.service() as path:
        yield path


@pytest.fixture(scope="module")
def docker_socket(request):
    if engines.missing("dockerd", "containerd"):
        yield request.getfixturevalue("podman_socket")
        return
    with engines.docker_service() as path:
        yield path


@pytest.fixture(scope="module")
def own_service():
    """What makes a service of our own, which takes the place of the one before it."""
    folder, made = Path(tempfile.mkdtemp(prefix="fl-own-")), []
    places = own_podman.Places(folder, folder / "podman.sock", folder / "log")

    def make():
        environ = {**os.environ, "CONTAINERS_STORAGE_CONF": str(conf)}
        store = image_stores.of_user(environ, privilege.real_uid())
        made.append(own_podman.Service(places, environ, store=store, fresh=not made))
        return made[-1]

    with engines.user_images(fltest=('CMD ["sleep","600"]',)) as conf:
        yield make
        for service in made:
            asyncio.run(service.close())
    folders.remove_tree(folder)


def runtime_of(kind, folder, path):
    """A new runtime of that kind; `path` is the engine's socket, or what makes the engine."""
    inner = processes.ProcessRuntime(processes.ProcessSettings(folder, houses.engine()))
    if kind == "process":
        return inner
    if kind == "rootless":
        return containers.ContainerRuntime(own_podman.OwnPodman(path()), inner, timer=clock.SystemClock())
    if kind == "docker":
        engine = docker.Docker(path, podman.EngineSettings(LIMITS))
        pauses = docker_pause.PauseRuntime(engine, folder)
        return containers.ContainerRuntime(engine, pauses, timer=clock.SystemClock(), network=docker_pause.network)
    return containers.ContainerRuntime(
        podman.Podman(path, podman.EngineSettings(LIMITS)), inner, timer=clock.SystemClock()
    )


def socket_of(request):
    if request.param == "process":
        return ""
    fixtures = {"docker": "docker_socket", "podman": "podman_socket", "rootless": "own_service"}
    return request.getfixturevalue(fixtures[request.param])


@pytest.fixture(params=KINDS)
def bench(request):
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    path = socket_of(request)

    def make():
        return runtime_of(request.param, folder, path)

    yield Bench(folder, make, "localhost/fltest:1" if path else "any:1")
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def opened(bench):
    """(bench, sandbox, listener) of a new pod."""
    made, listener = bench.make(), Listener()
    sandbox = await made.open(bench.spec(), listener)
    yield bench, sandbox, listener
    await sandbox.stop()
    await made.close()


async def next_exit(listener):
    async with asyncio.timeout(15):
        return await listener.exits.get()


def alive(pid):
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


async def test_a_command_runs_with_its_environment_and_its_output_is_logged(opened):
    bench, sandbox, listener = opened
    assert not sandbox.adopted
    started = await sandbox.start(
        bench.plan("echo $A; pwd; echo err >&2; exit 3", env={"A": "x y", "PATH": "/bin:/usr/bin"})
    )
    exit = await next_exit(listener)
    assert (exit.container, exit.exit_code, exit.oom) == ("app", 3, False)
    assert len(started.id) == 64
    assert started.at <= exit.finished_at + 0.01
    lines = bench.log()
    assert [line[2] for line in lines if line[0] == "stdout"] == ["x y", "/tmp"]
    assert ["stderr", "F", "err"] in lines


async def test_a_signal_ends_a_container_with_128_and_its_number(opened):
    bench, sandbox, listener = opened
    started = await sandbox.start(bench.plan("exec sleep 600"))
    assert alive(started.pid)
    await sandbox.signal("app", 9)
    assert (await next_exit(listener)).exit_code == 137
    assert not alive(started.pid)


async def test_a_container_may_catch_its_stop_signal(opened):
    bench, sandbox, listener = opened
    probe = runtime.ExecProbe("p", "app", ("/bin/test", "-e", FLAG), {}, "/")
    up, line = asyncio.Event(), f"trap 'rm {FLAG}; exit 4' TERM; touch {FLAG}; while :; do sleep 1 & wait $!; done"
    await sandbox.start(bench.plan(line))
    await sandbox.probe(probe, lambda ok, _: up.set() if ok else None)
    async with asyncio.timeout(10):
        await up.wait()
    await sandbox.signal("app", 15)
    assert (await next_exit(listener)).exit_code == 4


async def test_the_same_name_starts_again_after_its_end(opened):
    bench, sandbox, listener = opened
    first = await sandbox.start(bench.plan("exit 1"))
    await next_exit(listener)
    second = await sandbox.start(bench.plan("exit 2"))
    assert first.id != second.id
    assert (await next_exit(listener)).exit_code == 2


async def test_a_command_that_does_not_exist_is_a_start_error(opened):
    bench, sandbox, _ = opened
    with pytest.raises(runtime.StartFailed) as caught:
        await sandbox.start(bench.plan("", argv=("/no/such/command",)))
    assert caught.value.reason == "StartError"
    assert "/no/such/command" in caught.value.message


async def test_exec_answers_output_and_code_and_is_ended_in_time(opened):
    bench, sandbox, _ = opened
    await sandbox.start(bench.plan("exec sleep 600"))
    env = {"B": "2", "PATH": "/bin:/usr/bin"}
    answer = await sandbox.exec(
        "app", ["/bin/sh", "-c", "echo $B; echo no >&2; exit 5"], env=env, cwd="/", timeout_seconds=10
    )
    assert (answer.exit_code, answer.stdout, answer.stderr, answer.timed_out) == (5, b"2\n", b"no\n", False)
    slow = await sandbox.exec("app", ["/bin/sleep", "60"], env=env, cwd="/", timeout_seconds=0.3)
    assert slow.timed_out
    wrong = await sandbox.exec("app", ["/no/such"], env=env, cwd="/", timeout_seconds=10)
    assert wrong.exit_code in (126, 127, 128)


async def test_exec_probes_tell_transitions(opened):
    bench, sandbox, _ = opened
    await sandbox.start(bench.plan(f"rm -f {FLAG}; exec sleep 600"))
    results = asyncio.Queue()
    probe = runtime.ExecProbe("p", "app", ("/bin/test", "-e", FLAG), {}, "/", period_seconds=0.3, failure_threshold=2)
    await sandbox.probe(probe, lambda ok, message: results.put_nowait(ok))
    async with asyncio.timeout(15):
        assert await results.get() is False
        await sandbox.exec("app", ["/bin/touch", FLAG], env={}, cwd="/", timeout_seconds=5)
        assert await results.get() is True
        await sandbox.exec("app", ["/bin/rm", FLAG], env={}, cwd="/", timeout_seconds=5)
        assert await results.get() is False
    await sandbox.probe_stop("p")


async def test_a_pod_is_adopted_as_it_runs(bench):
    made, listener = bench.make(), Listener()
    sandbox = await made.open(bench.spec(), listener)
    started = await sandbox.start(bench.plan("exec sleep 600"))
    await sandbox.release()
    await made.close()
    assert alive(started.pid)
    again, listener = bench.make(), Listener()
    assert await again.found() == ["u1"]
    sandbox = await again.open(bench.spec(), listener)
    assert sandbox.adopted
    assert sandbox.running()["app"].pid == started.pid
    assert abs(sandbox.running()["app"].started_at - started.at) < 1
    await sandbox.signal("app", 9)
    assert (await next_exit(listener)).exit_code == 137
    await sandbox.stop()
    await again.close()


async def test_an_end_that_nobody_saw_is_told_at_adoption(bench):
    made, listener = bench.make(), Listener()
    sandbox = await made.open(bench.spec(), listener)
    started = await sandbox.start(bench.plan("exec sleep 600"))
    await sandbox.release()
    await made.close()
    subprocess.run(["kill", "-9", str(started.pid)], check=True)
    async with asyncio.timeout(10):
        while alive(started.pid):
            await asyncio.sleep(0.02)
    again = bench.make()
    async with asyncio.timeout(10):
        while True:
            sandbox = await again.open(bench.spec(), Listener())
            if sandbox.ended():
                break
            await sandbox.release()
    assert sandbox.running() == {}
    assert [(exit.container, exit.exit_code) for exit in sandbox.ended()] == [("app", 137)]
    await sandbox.stop()
    await again.close()


async def test_an_orphan_is_ended_with_its_files(bench):
    made = bench.make()
    sandbox = await made.open(bench.spec(), Listener())
    started = await sandbox.start(bench.plan("exec sleep 600"))
    await sandbox.release()
    await made.end("u1")
    assert not alive(started.pid)
    assert await made.found() == []
    await made.close()


async def test_a_sandbox_whose_holder_dies_is_lost_with_its_containers(bench):
    made, listener = bench.make(), Listener()
    sandbox = await made.open(bench.spec(), listener)
    started = await sandbox.start(bench.plan("exec sleep 600"))
    held = getattr(sandbox, "inner", sandbox)
    holder = getattr(held, "shim_pid", 0) or held.netns_pid
    subprocess.run(["kill", "-9", str(holder)], check=True)
    async with asyncio.timeout(15):
        await listener.losses.get()
        while alive(started.pid):
            await asyncio.sleep(0.02)
    await sandbox.stop()
    await made.close()


async def test_stopping_ends_everything_and_may_be_done_twice(bench):
    made = bench.make()
    sandbox = await made.open(bench.spec(), Listener())
    started = await sandbox.start(bench.plan("sleep 600 & sleep 600 & wait"))
    await sandbox.stop()
    await sandbox.stop()
    assert not alive(started.pid)
    assert not (bench.folder / "u1").exists()
    await made.close()


real_shim = pytest.mark.skipif(len(houses.engine()) > 1, reason="needs the engine's shim: set FAIRLEAD_ENGINE")


async def everything(session):
    """All of the session's output (1 and 2 apart), and its exit code."""
    output = {1: b"", 2: b""}
    async with asyncio.timeout(15):
        while (piece := await session.read()) is not None:
            output[piece[0]] += piece[1]
        return output[1], output[2], await session.wait()


@real_shim
async def test_somebody_may_talk_to_a_command(opened):
    bench, sandbox, _ = opened
    await sandbox.start(bench.plan("exec sleep 600"))
    env = {"PATH": "/bin:/usr/bin"}
    line = "read x; echo got $x; echo no >&2; cat; exit 7"
    session = await sandbox.stream("app", ["/bin/sh", "-c", line], env=env, cwd="/", stdin=True, tty=False)
    await session.write(b"hello\nthe rest")
    await session.end_input()
    assert await everything(session) == (b"got hello\nthe rest", b"no\n", 7)
    await session.close()


@real_shim
async def test_a_terminal_has_a_size_and_one_stream(opened):
    bench, sandbox, _ = opened
    await sandbox.start(bench.plan("exec sleep 600"))
    line = "read x; test -t 0 && echo terminal; echo error >&2; exit 0"
    session = await sandbox.stream(
        "app", ["/bin/sh", "-c", line], env={"PATH": "/bin:/usr/bin"}, cwd="/", stdin=True, tty=True
    )
    await session.resize(width=120, height=40)
    await session.write(b"x\n")
    out, err, code = await everything(session)
    assert b"terminal\r\n" in out
    assert b"error\r\n" in out
    assert (err, code) == (b"", 0)
    await session.close()


@real_shim
async def test_closing_a_session_ends_its_command(opened):
    bench, sandbox, _ = opened
    await sandbox.start(bench.plan("exec sleep 600"))
    line = "echo $$; exec sleep 601"
    session = await sandbox.stream(
        "app", ["/bin/sh", "-c", line], env={"PATH": "/bin:/usr/bin"}, cwd="/", stdin=False, tty=False
    )
    async with asyncio.timeout(10):
        await session.read()
        while not sleepers(601):
            await asyncio.sleep(0.02)
        await session.close()
        while sleepers(601):
            await asyncio.sleep(0.02)


def sleepers(seconds):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            found += [path] if words[-2:-1] == [str(seconds).encode()] and words[0].endswith(b"sleep") else []
    return found


@real_shim
async def test_a_container_with_input_may_be_attached_to(opened):
    bench, sandbox, listener = opened
    await sandbox.start(bench.plan("while read x; do echo got $x; test $x = end && exit 5; done", stdin=True))
    session = await sandbox.attach("app")
    await session.write(b"one\n")
    async with asyncio.timeout(10):
        assert await session.read() == (1, b"got one\n")
        await session.write(b"end\n")
        assert (await next_exit(listener)).exit_code == 5
    await session.close()
    assert ["stdout", "F", "got one"] in bench.log()


class TestImages:
    """What only a runtime with images does."""

    @pytest.fixture(params=ENGINES)
    def bench(self, request):
        folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
        path = socket_of(request)

        def make():
            return runtime_of(request.param, folder, path)

        yield Bench(folder, make, "localhost/fltest:1")
        shutil.rmtree(folder, ignore_errors=True)

    async def test_the_images_own_command_runs_and_args_replace_it(self, opened):
        bench, sandbox, listener = opened
        started = await sandbox.start(bench.plan("", argv=(), cwd=""))
        assert started.image_id
        async with asyncio.timeout(10):  # an engine may tell of a start before the program is in its process
            while b"sleep\x00600" not in Path(f"/proc/{started.pid}/cmdline").read_bytes():
                await asyncio.sleep(0.01)
        await sandbox.signal("app", 9)
        await next_exit(listener)
        await sandbox.start(bench.plan("", argv=(), args=("echo", "hello"), cwd=""))
        assert (await next_exit(listener)).exit_code == 0
        assert ["stdout", "F", "hello"] in bench.log()

    async def test_a_local_image_needs_no_registry_whatever_the_policy(self, opened):
        bench, sandbox, listener = opened
        for policy in ("Never", "IfNotPresent", "Always"):
            await sandbox.start(bench.plan("exit 0", pull_policy=policy))
            assert (await next_exit(listener)).exit_code == 0

    @pytest.mark.parametrize(
        ("policy", "reason"),
        [("Never", "ErrImageNeverPull"), ("IfNotPresent", "ErrImagePull"), ("Always", "ErrImagePull")],
    )
    async def test_an_image_that_cannot_be_had_says_why(self, opened, policy, reason):
        bench, sandbox, _ = opened
        plan = bench.plan("exit 0", image="localhost:1/no/such:1", pull_policy=policy)
        with pytest.raises(runtime.StartFailed) as caught:
            await sandbox.start(plan)
        assert caught.value.reason == reason
        assert "localhost:1/no/such:1" in caught.value.message

    async def test_commands_leave_no_process_behind(self, opened):
        bench, sandbox, _ = opened
        started = await sandbox.start(bench.plan("exec sleep 600"))
        for _ in range(2):
            await sandbox.exec("app", ["/bin/true"], env={}, cwd="/", timeout_seconds=10)
        monitors = [
            path
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.with_name("comm").read_bytes() == b"conmon\n"
            and b"--exec-attach" in path.read_bytes()
            and started.id.encode() in path.read_bytes()
        ]
        assert monitors == []
