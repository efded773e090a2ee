"""The life of pods under a real shim, in loopback mode, with a gate and a prober that the test holds."""

import asyncio
import os
from pathlib import Path

import house as houses
from house import condition, container, ready, state

from fairlead.api import kinds
from fairlead.client import exchange
from fairlead.node import cgroups
from fairlead.node.network import loopback


async def test_a_pod_runs_and_says_so(house):
    await house.create("web", {"containers": [container(ports=[{"containerPort": 8080}])]})
    pod = await house.until("web", ready)
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith(house.network.cidr.removesuffix("0.0/16"))
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert state(pod)["restartCount"] == 0
    assert state(pod)["containerID"].startswith("process://")
    assert "running" in state(pod)["state"]
    assert {entry["type"] for entry in status["conditions"]} >= {
        "PodScheduled", "Initialized", "ContainersReady", "Ready",
    }  # fmt: skip
    reasons = [reason for reason, _ in await house.events("web")]
    assert reasons == ["Scheduled", "Pulled", "Created", "Started"]


async def test_the_node_is_registered_with_a_lease(house):
    node = await house.client.get(kinds.NODE, houses.NODE)
    assert {entry["type"]: entry["status"] for entry in node["status"]["conditions"]}["Ready"] == "True"
    assert int(node["status"]["capacity"]["cpu"]) >= 1


async def test_logs_come_as_they_were_written(house):
    await house.create("talk", {"containers": [container(sh="echo one; echo two; sleep 60")]})
    await house.until("talk", ready)
    lines = []
    async with asyncio.timeout(10):
        async for piece in house.agent.logs("default", "talk", follow=True):
            lines.append(piece)
            if b"".join(lines) == b"one\ntwo\n":
                break
    tail = [piece async for piece in house.agent.logs("default", "talk", tail=1)]
    assert b"".join(tail) == b"two\n"


async def test_exec_runs_beside_the_container_in_its_environment(house):
    spec = container(env=[{"name": "COLOUR", "value": "blue"}])
    await house.create("web", {"containers": [spec]})
    await house.until("web", ready)
    answer = await house.agent.exec("default", "web", "", ["/bin/sh", "-c", "echo $COLOUR; exit 3"], timeout_seconds=5)
    assert (answer.exit_code, answer.stdout) == (3, b"blue\n")


async def test_a_container_that_ends_is_started_again_then_backs_off(house):
    await house.create("crash", {"containers": [container(sh="exit 7")]})
    pod = await house.until(
        "crash", lambda pod: state(pod).get("restartCount") == 1 and "waiting" in state(pod)["state"]
    )
    waiting = state(pod)["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert "back-off 10s restarting failed container=app" in waiting["message"]
    assert "kubectl logs" in waiting["message"]
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 7
    assert pod["status"]["phase"] == "Running"
    assert condition(pod, "Ready") == "False"


async def test_a_command_that_does_not_exist_is_told(house):
    await house.create("typo", {"containers": [{"name": "app", "image": "x", "command": ["/no/such/thing"]}]})
    pod = await house.until("typo", lambda pod: state(pod).get("lastState", {}).get("terminated"))
    ended = state(pod)["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "/no/such/thing" in ended["message"]
    assert "Failed" in [reason for reason, _ in await house.events("typo")]


async def test_an_image_that_nobody_can_run_waits_with_the_ways_out(house):
    await house.create("nginx", {"containers": [{"name": "app", "image": "nginx:1.27"}]})
    pod = await house.until("nginx", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    waiting = state(pod)["state"]["waiting"]
    assert waiting["reason"] == "ErrImageNeverPull"
    assert "fairlead.yaml" in waiting["message"]
    assert "Podman" in waiting["message"]
    assert pod["status"]["phase"] == "Pending"


async def test_a_job_like_pod_succeeds_and_stays_readable(house):
    spec = {"restartPolicy": "Never", "containers": [container(sh="echo done")]}
    await house.create("job", spec)
    pod = await house.until("job", lambda pod: pod["status"].get("phase") == "Succeeded")
    assert state(pod)["state"]["terminated"]["reason"] == "Completed"
    assert b"".join([piece async for piece in house.agent.logs("default", "job")]) == b"done\n"
    await house.client.delete(kinds.POD, "job", namespace="default")
    await house.gone("job")


async def test_init_containers_run_in_order_before_the_others(house):
    folder = house.folder / "shared"
    folder.mkdir(mode=0o777)
    note = folder / "note"
    spec = {
        "initContainers": [
            container("first", sh=f"echo first >> {note}"),
            container("second", sh=f"echo second >> {note}"),
        ],
        "containers": [container(sh=f"cat {note}; sleep 60")],
    }
    await house.create("web", spec)
    pod = await house.until("web", ready)
    assert note.read_text() == "first\nsecond\n"
    assert state(pod, "first")["state"]["terminated"]["exitCode"] == 0
    assert condition(pod, "Initialized") == "True"


async def test_a_failing_init_container_fails_a_pod_that_never_restarts(house):
    spec = {"restartPolicy": "Never", "initContainers": [container("first", sh="exit 3")], "containers": [container()]}
    await house.create("web", spec)
    pod = await house.until("web", lambda pod: pod["status"].get("phase") == "Failed")
    assert state(pod, "first")["state"]["terminated"]["exitCode"] == 3
    assert state(pod)["state"]["waiting"]["reason"] == "PodInitializing"


async def test_readiness_follows_the_prober(house):
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2}
    spec = container(ports=[{"name": "http", "containerPort": 8080}], readinessProbe=probe)
    await house.create("web", {"containers": [spec]})
    pod = await house.until("web", lambda pod: "running" in state(pod).get("state", {}))
    assert condition(pod, "Ready") != "True"
    identity = await house.prober.wait_for("readiness")
    asked = house.prober.watched[identity][0]
    assert (asked.kind, asked.path, asked.period_seconds, asked.address) == (
        "http",
        "/healthz",
        2.0,
        pod["status"]["podIP"],
    )
    await house.prober.answer("readiness", True)
    await house.until("web", ready)
    await house.prober.answer("readiness", False, "HTTP 503")
    pod = await house.until("web", lambda pod: condition(pod, "Ready") == "False")
    assert ("Unhealthy", "Readiness probe failed: HTTP 503") in await house.events("web")


async def test_a_failed_liveness_probe_restarts_the_container(house):
    probe = {"tcpSocket": {"port": 8080}}
    await house.create("web", {"containers": [container(livenessProbe=probe)]})
    pod = await house.until("web", ready)
    await house.prober.answer("liveness", False, "connection refused")
    after = await house.until("web", lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
    assert state(after)["containerID"] != state(pod)["containerID"]
    assert "Killing" in [reason for reason, _ in await house.events("web")]


async def test_startup_holds_back_the_other_probes(house):
    probe = {"tcpSocket": {"port": 8080}}
    await house.create("web", {"containers": [container(startupProbe=probe, readinessProbe=probe)]})
    await house.prober.wait_for("startup")
    assert not any(name.endswith("readiness") for name in house.prober.watched)
    await house.prober.answer("startup", True)
    await house.prober.wait_for("readiness")
    await house.prober.answer("readiness", True)
    await house.until("web", ready)
    assert not any(name.endswith("startup") for name in house.prober.watched)


async def test_exec_probes_are_made_in_the_pod(house):
    flag = house.folder / "flag"
    probe = {"exec": {"command": ["/bin/test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 1}
    await house.create("web", {"containers": [container(readinessProbe=probe)]})
    await house.until("web", lambda pod: "running" in state(pod).get("state", {}))
    flag.touch()
    await house.until("web", ready)
    flag.unlink()
    await house.until("web", lambda pod: condition(pod, "Ready") == "False")


async def test_a_pod_is_drained_before_it_is_told_to_stop(house):
    note = house.folder / "note"
    line = f"trap 'echo stopped > {note}; exit 0' TERM; touch {note}.up; while :; do sleep 60 & wait $!; done"
    annotations = {"fairlead.dev/drain-seconds": "12"}
    probe = {"exec": {"command": ["/bin/test", "-e", f"{note}.up"]}, "periodSeconds": 1}
    await house.create("web", {"containers": [container(sh=line, readinessProbe=probe)]}, annotations=annotations)
    pod = await house.until("web", ready)
    house.gate.open.clear()
    await house.client.delete(kinds.POD, "web", namespace="default")
    await house.gate.asked.wait()
    assert house.gate.drains == [(pod["status"]["podIP"], 12.0)]
    assert not note.exists()
    assert "running" in state(await house.get("web"))["state"]
    house.gate.open.set()
    await house.gone("web")
    assert note.read_text() == "stopped\n"
    assert house.gate.released == [pod["status"]["podIP"]]
    assert not (house.folder / "pods" / pod["metadata"]["uid"]).exists()


async def test_a_forced_deletion_skips_the_drain(house):
    await house.create("web", {"containers": [container(sh="trap '' TERM; sleep 60 & wait $!")]})
    pod = await house.until("web", ready)
    house.gate.open.clear()
    await house.client.delete(kinds.POD, "web", namespace="default", grace_seconds=0)
    await house.gone("web")
    folder = house.folder / "pods" / pod["metadata"]["uid"]
    async with asyncio.timeout(10):
        while folder.exists():
            await asyncio.sleep(0.02)
    assert house.gate.drains == []


async def test_a_container_that_ignores_sigterm_is_killed_after_its_grace(house):
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container(sh="trap '' TERM; while :; do sleep 1; done")]}
    await house.create("web", spec)
    await house.until("web", ready)
    await house.client.delete(kinds.POD, "web", namespace="default")
    await house.gone("web", seconds=10)


async def test_pre_stop_runs_before_sigterm_and_post_start_after_the_start(house):
    note = house.folder / "note"
    hooks = {
        "postStart": {"exec": {"command": ["/bin/sh", "-c", f"echo post >> {note}"]}},
        "preStop": {"exec": {"command": ["/bin/sh", "-c", f"echo pre >> {note}"]}},
    }
    line = f"trap 'echo term >> {note}; exit 0' TERM; while :; do sleep 60 & wait $!; done"
    await house.create("web", {"containers": [container(sh=line, lifecycle=hooks)]})
    await house.until("web", ready)
    await house.client.delete(kinds.POD, "web", namespace="default")
    await house.gone("web")
    assert note.read_text() == "post\npre\nterm\n"


async def test_pods_survive_us_and_are_adopted(house):
    await house.create(
        "web", {"containers": [container(sh="echo up; trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done")]}
    )
    before = await house.until("web", ready)
    pid = house.agent._find("default", "web").record.containers["app"].pid
    await house.stop(stop_pods=False)
    assert Path(f"/proc/{pid}").exists()
    await house.start()
    house.agent.pod_ip("default", "web")
    async with asyncio.timeout(10):
        while not house.agent._find("default", "web").record.network_ready:
            await asyncio.sleep(0.01)
    found = house.agent._find("default", "web").record
    assert found.containers["app"].pid == pid
    assert found.ip == before["status"]["podIP"]
    assert found.containers["app"].restarts == 0
    assert (await house.get("web"))["status"] == before["status"]
    said = b""
    async with asyncio.timeout(10):  # the process may not have said it yet
        async for piece in house.agent.logs("default", "web", follow=True):
            said += piece
            if said == b"up\n":
                break


async def test_what_ended_while_we_were_away_is_restarted(house):
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    pid = house.agent._find("default", "web").record.containers["app"].pid
    await house.stop(stop_pods=False)
    os.kill(pid, 9)
    await house.start()
    pod = await house.until("web", lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 137


async def test_a_new_pod_never_gets_the_address_of_one_that_is_still_to_be_adopted(house):
    for name in ("web", "other"):
        await house.create(name, {"containers": [container()]})
    before = {name: (await house.until(name, ready))["status"] for name in ("web", "other")}
    await house.stop(stop_pods=False)
    await house.client.delete(kinds.POD, "other", namespace="default", grace_seconds=0)  # an orphan until it has ended
    await house.create("a", {"containers": [container()]})  # the first in every list
    cidr = house.network.cidr
    await house.network.release()
    house.network = loopback.LoopbackNetwork("tests", wanted=cidr)
    await house.network.start()
    await house.start()
    new = await house.until("a", ready)
    assert new["status"]["podIP"] not in {status["podIP"] for status in before.values()}
    assert house.agent.pod_ip("default", "web") == before["web"]["podIP"]
    assert (await house.get("web"))["status"] == before["web"]


async def test_orphans_are_ended_at_the_start(house):
    pod = await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    pid = house.agent._find("default", "web").record.containers["app"].pid
    await house.stop(stop_pods=False)
    await house.client.delete(kinds.POD, "web", namespace="default", grace_seconds=0)
    await house.start()
    async with asyncio.timeout(10):
        while (house.folder / "pods" / pod["metadata"]["uid"]).exists():
            await asyncio.sleep(0.02)
        while houses.alive(pid):
            await asyncio.sleep(0.02)


async def test_a_shim_that_dies_is_replaced(house):
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    owner = house.agent._find("default", "web")
    os.kill(owner.sandbox.shim_pid, 9)
    pod = await house.until("web", lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 137
    assert "SandboxChanged" in [reason for reason, _ in await house.events("web")]


async def test_usage_counts_child_processes(house):
    line = "(while :; do :; done) & wait"
    await house.create("busy", {"terminationGracePeriodSeconds": 0, "containers": [container(sh=line)]})
    await house.until("busy", ready)
    async with asyncio.timeout(20):
        while not (found := house.agent.usage.usage("default", "busy")) or found["app"].cpu_cores < 0.2:
            await asyncio.sleep(0.1)
    assert found["app"].memory_bytes > 100_000


async def test_ports_that_are_taken_are_moved_and_told(house):
    line = "echo port=$PORT host=$HOST arg=$0; sleep 60"
    import socket

    first = house.network.cidr.removesuffix("0.0/16") + "0.2"
    taken = socket.socket()
    taken.bind((first, 18080))
    try:
        spec = container(ports=[{"containerPort": 18080}])
        spec["command"] = ["/bin/sh", "-c", line, "$(PORT)"]
        await house.create("web", {"containers": [spec]})
        pod = await house.until("web", ready)
    finally:
        taken.close()
    assert pod["status"]["podIP"] == first
    moved = house.agent.ports("default", "web")["18080"]
    assert moved != 18080
    assert pod["metadata"]["annotations"]["fairlead.dev/ports"] == f'{{"18080": {moved}}}'
    async with asyncio.timeout(5):
        async for piece in house.agent.logs("default", "web", follow=True):
            assert piece == f"port={moved} host={first} arg={moved}\n".encode()
            break


async def test_an_image_may_be_changed_while_the_pod_runs(house):
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    pod = await house.get("web")
    pod["spec"]["containers"][0]["image"] = "test:2"
    await house.client.patch(kinds.POD, "web", {"spec": pod["spec"]}, namespace="default")
    after = await house.until("web", lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
    assert state(after)["image"] == "test:2"
    assert any("definition changed" in message for _, message in await house.events("web"))


async def test_an_api_server_that_fails_for_a_while_only_delays_the_news(house):
    failures = []

    def fail(request):
        if request.path.endswith("/pods/web/status") and len(failures) < 3:
            failures.append(request.path)
            body = b'{"kind": "Status", "status": "Failure", "code": 500, "message": "the disk is slow"}'
            return exchange.Response(500, body=body)
        return None

    house.api.fail = fail
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    assert len(failures) == 3


async def test_a_deletion_that_the_api_refuses_at_first_is_tried_again(house):
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    failures = []

    def fail(request):
        if request.method == "DELETE" and request.identity.username.endswith(":node") and not failures:
            failures.append(request.path)
            body = b'{"kind": "Status", "status": "Failure", "code": 503, "message": "not now"}'
            return exchange.Response(503, body=body)
        return None

    house.api.fail = fail
    await house.client.delete(kinds.POD, "web", namespace="default")
    await house.gone("web")
    assert len(failures) == 1


async def test_after_a_reboot_of_the_machine_every_pod_runs_again(house):
    for name in ("one", "two"):
        await house.create(name, {"containers": [container()]})
    before = {name: await house.until(name, ready) for name in ("one", "two")}
    shims = [house.agent._find("default", name).sandbox.shim_pid for name in ("one", "two")]
    await house.stop(stop_pods=False)
    for pid in shims:
        os.kill(pid, 9)
    await house.start()
    for name, old in before.items():
        pod = await house.until(name, lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
        assert pod["status"]["podIP"] == old["status"]["podIP"]
        assert state(pod)["lastState"]["terminated"]["exitCode"] == 137


async def test_a_node_that_stops_drains_its_pods_and_leaves_the_objects(house):
    await house.create("web", {"containers": [container()]})
    pod = await house.until("web", ready)
    await house.stop()
    assert [address for address, _ in house.gate.drains] == [pod["status"]["podIP"]]
    assert (await house.get("web"))["metadata"]["uid"] == pod["metadata"]["uid"]
    house.network = None
    await house.start()
    await house.until("web", lambda pod: "running" in state(pod).get("state", {}) and ready(pod))


async def test_a_forced_deletion_hurries_one_that_drains(house):
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    house.gate.open.clear()
    await house.client.delete(kinds.POD, "web", namespace="default")
    await house.gate.asked.wait()
    await house.client.delete(kinds.POD, "web", namespace="default", grace_seconds=0)
    await house.gone("web")
    async with asyncio.timeout(10):
        while os.listdir(house.folder / "pods"):
            await asyncio.sleep(0.02)


async def test_a_restart_of_a_container_forgets_no_count_over_our_death(house):
    await house.create("crash", {"containers": [container(sh="exit 7")]})
    await house.until("crash", lambda pod: state(pod).get("restartCount") == 1 and "waiting" in state(pod)["state"])
    await house.stop(stop_pods=False)
    await house.start()
    async with asyncio.timeout(10):
        while not house.agent._find("default", "crash").record.network_ready:
            await asyncio.sleep(0.01)
    pod = await house.get("crash")
    assert state(pod)["restartCount"] == 1
    assert state(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 7


async def test_a_pod_that_comes_while_the_node_ends_is_left_for_the_next_life(house):
    await house.create("old", {"containers": [container()]})
    await house.until("old", ready)
    house.gate.open.clear()
    ending = asyncio.ensure_future(house.agent.close(stop_pods=True))
    await house.gate.asked.wait()
    late = await house.create("late", {"containers": [container()]})
    version = late["metadata"]["resourceVersion"]
    while not house.informers.of(kinds.POD, field_selector=f"spec.nodeName={houses.NODE}").seen(version):
        await asyncio.sleep(0.01)
    house.gate.open.set()
    await ending
    assert not (house.folder / "pods" / late["metadata"]["uid"]).exists()
    assert (await house.get("late"))["status"] == {"phase": "Pending"}


async def test_a_pods_shim_is_gone_when_its_end_is_told(house):
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    shim = house.agent._find("default", "web").sandbox.shim_pid
    await house.agent.close(stop_pods=True)
    assert not houses.alive(shim)


async def test_a_pod_that_starts_and_gets_ready_takes_two_status_writes(house):
    probe = {"httpGet": {"path": "/", "port": 8080}}
    await house.create("web", {"containers": [container(readinessProbe=probe)]})
    await house.prober.answer("readiness", ok=True)
    await house.until("web", ready)
    owner = house.agent._find("default", "web")
    for _ in range(5):
        owner.wake()
        await owner.publisher.flushed()
    path = "/api/v1/namespaces/default/pods/web/status"
    assert 1 <= house.api.requests.count(("PATCH", path)) <= 2


async def test_a_deadline_that_is_set_while_the_pod_runs_ends_it(house):
    await house.create("web", {"containers": [container()], "terminationGracePeriodSeconds": 1})
    await house.until("web", ready)
    change = {"spec": {"activeDeadlineSeconds": 1}}
    await house.client.patch(kinds.POD, "web", change, namespace="default")
    pod = await house.until("web", lambda pod: pod["status"]["phase"] == "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_a_failed_pod_can_be_deleted_while_it_waits(house):
    await house.create("web", {"containers": [container(sh="exit 3")]})
    pod = await house.until("web", lambda pod: "CrashLoopBackOff" in str(state(pod).get("state")))
    assert state(pod)["lastState"]["terminated"]["reason"] == "Error"
    await house.client.delete(kinds.POD, "web", namespace="default")
    await house.gone("web", seconds=5)


MOUNTED = {
    "volumes": [{"name": "my-config", "configMap": {"name": "conf"}}, {"name": "data", "emptyDir": {}}],
    "restartPolicy": "Never",
}
MOUNTS = [{"name": "my-config", "mountPath": "/etc/conf"}, {"name": "data", "mountPath": "/data"}]


async def test_where_nothing_can_be_mounted_a_pod_with_volumes_waits_and_is_told_the_ways_out(house):
    await house.create("web", {"containers": [container(volumeMounts=MOUNTS)], **MOUNTED})
    pod = await house.until("web", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    waiting = state(pod)["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert "run fairlead as root" in waiting["message"]
    assert "fairlead.dev/volumes: folders" in waiting["message"]


async def test_a_pod_that_asks_for_folders_finds_its_volumes_by_variables(house):
    body = {"metadata": {"name": "conf"}, "data": {"a": "A"}}
    await house.client.create(kinds.CONFIG_MAP, body, namespace="default")
    line = "cat $FAIRLEAD_VOLUME_MY_CONFIG/a; echo B > $FAIRLEAD_VOLUME_DATA/b; cat $(FAIRLEAD_VOLUME_DATA)/b"
    spec = {"containers": [container(sh=line, volumeMounts=MOUNTS)], **MOUNTED}
    await house.create("web", spec, annotations={"fairlead.dev/volumes": "folders"})
    await house.until("web", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert b"".join([piece async for piece in house.agent.logs("default", "web")]) == b"AB\n"


async def test_an_accounts_token_alone_keeps_no_pod_from_running_without_mounts(house):
    volume = {"name": "kube-api-access-x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    mount = {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    spec = {"containers": [container(volumeMounts=[mount])], "volumes": [volume], "serviceAccountName": "robot"}
    await house.create("web", spec)
    await house.until("web", ready)
    told = dict(await house.events("web"))
    assert "serviceAccountName" in told["FieldNotHonoured"]


class StumblingGate(houses.Gate):
    """A gate with a bug that shows at the first drain."""

    stumbled = False

    async def drain(self, address, *, deadline_seconds):
        if not self.stumbled:
            self.stumbled = True
            raise KeyError(address)
        return await super().drain(address, deadline_seconds=deadline_seconds)


async def test_a_pod_whose_task_fails_is_looked_after_again(house):
    await house.create("web", {"containers": [container()]})
    await house.until("web", ready)
    house.agent._doors.gate = gate = StumblingGate()
    await house.client.delete(kinds.POD, "web", namespace="default")
    await house.gone("web")
    assert gate.stumbled and len(gate.drains) == 1
    (failure,) = house.failures
    assert failure.startswith("node/pod/web: KeyError")
    house.failures.clear()


async def test_cgroups_of_pods_that_went_while_we_were_away_are_removed(house, tmp_path):
    await house.stop()
    (tmp_path / "cgroup.controllers").touch()
    left = tmp_path / "fairlead" / "tests" / "gone" / "app"
    left.mkdir(parents=True)
    (tmp_path / "cgroup.subtree_control").touch()
    house.cgroups = cgroups.Cgroups("tests", root=tmp_path)
    house.network = None
    await house.start()
    async with asyncio.timeout(5):
        while left.parent.exists():
            await asyncio.sleep(0.01)
