"""What containers see: volumes and their updates, identity, capabilities, limits, termination messages."""

import asyncio
import base64
import os
import shutil
import tempfile
from pathlib import Path

import house as houses
import pytest
import pytest_asyncio
from house import container, ready, state

from fairlead.api import kinds
from fairlead.node import cgroups
from fairlead.node.network import kernel, loopback

pytestmark = [
    pytest.mark.usefixtures("own_network"),
    pytest.mark.system,
    pytest.mark.skipif(len(houses.engine()) > 1, reason="needs the engine's shim: set FAIRLEAD_ENGINE"),
]


@pytest_asyncio.fixture
async def node(own_network):
    network = kernel.KernelNetwork("tests")
    await network.start()
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    made = houses.House(
        folder, network=network, namespaces=("mnt", "uts", "ipc", "pid"), cgroups=cgroups.Cgroups(folder.name)
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        made.cgroups.close()
        shutil.rmtree(folder, ignore_errors=True)
        assert not list(Path("/sys/fs/cgroup").glob(f"*/fairlead/{folder.name}"))


async def run_to_end(node, name, sh, *, pod=None, **more):
    """What that shell line printed, in a pod of its own that has succeeded."""
    spec = {"restartPolicy": "Never", "containers": [container(sh=sh, **more)], **(pod or {})}
    await node.create(name, spec)
    seen = await node.until(name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))
    out = b"".join([piece async for piece in node.agent.logs("default", name)]).decode()
    assert seen["status"]["phase"] == "Succeeded", (out, state(seen))
    return out


async def make(node, kind, name, **content):
    body = {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": name}, **content}
    await node.client.create(kind, body, namespace="default")


async def test_devices_are_the_machines_but_for_its_consoles(node):
    out = await run_to_end(
        node, "a", "echo x > /dev/null; head -c 3 /dev/zero | wc -c; stat -c '%t:%T %a' /dev/null; ls /dev"
    )
    size, null, *names = out.split("\n")
    assert (size, null) == ("3", "1:3 666")
    assert not {"tty1", "vcs"} & set(names)
    there = {name for name in os.listdir("/dev") if not name.startswith(("tty", "vcs"))}
    assert there <= set(names)


async def test_config_maps_and_secrets_are_files(node):
    await make(node, kinds.CONFIG_MAP, "conf", data={"a.txt": "A", "b.txt": "B"})
    await make(node, kinds.SECRET, "keys", data={"token": base64.b64encode(b"T").decode()})
    pod = {
        "volumes": [
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "one", "configMap": {"name": "conf", "items": [{"key": "b.txt", "path": "sub/b"}]}},
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        ]
    }
    mounts = [
        {"name": "conf", "mountPath": "/conf"},
        {"name": "one", "mountPath": "/one", "readOnly": True},
        {"name": "keys", "mountPath": "/run/keys"},
    ]
    line = "cat /conf/a.txt /conf/b.txt /one/sub/b /run/keys/token; ls /one; stat -Lc %a /run/keys/token; "
    line += "touch /one/x 2>/dev/null"
    out = await run_to_end(node, "files", line + " || echo read-only", pod=pod, volumeMounts=mounts)
    assert out.splitlines()[:3] == ["ABBTsub", "400", *out.splitlines()[2:3]]
    assert out.splitlines()[-1] == "read-only"


async def test_updates_of_a_config_map_reach_the_pod_at_once_and_whole(node):
    await make(node, kinds.CONFIG_MAP, "conf", data={"a": "1", "b": "1"})
    pod = {"volumes": [{"name": "conf", "configMap": {"name": "conf"}}]}
    line = "while :; do cd -P /conf/..data && cat a b; echo; sleep 0.05; done 2>/dev/null"
    await node.create(
        "web",
        {
            "containers": [container(sh=line, volumeMounts=[{"name": "conf", "mountPath": "/conf"}])],
            **pod,
            "terminationGracePeriodSeconds": 1,
        },
    )
    await node.until("web", ready)
    await node.client.patch(kinds.CONFIG_MAP, "conf", {"data": {"a": "2", "b": "2"}}, namespace="default")
    owner = node.agent._find("default", "web")
    facts = await owner.planner.facts(owner.pod, owner.place, {("ConfigMap", "conf")})
    await owner.place.volumes.refresh(owner.pod, facts)
    seen = set()
    async with asyncio.timeout(10):
        async for piece in node.agent.logs("default", "web", follow=True):
            seen |= set(piece.split())
            if b"22" in seen:
                break
    assert not seen & {b"12", b"21"}


async def test_a_missing_config_map_is_waited_for(node):
    pod = {"volumes": [{"name": "conf", "configMap": {"name": "conf"}}]}
    mounts = [{"name": "conf", "mountPath": "/conf"}]
    await node.create("web", {"containers": [container(volumeMounts=mounts)], **pod})
    seen = await node.until("web", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    assert state(seen)["state"]["waiting"]["reason"] == "ContainerCreating"
    assert ("FailedMount", 'configmap "conf" not found') in await node.events("web")
    await make(node, kinds.CONFIG_MAP, "conf", data={"a": "1"})
    await node.until("web", ready)


async def test_an_empty_dir_is_shared_by_containers_and_survives_a_restart(node):
    pod = {
        "volumes": [{"name": "data", "emptyDir": {}}],
        "initContainers": [
            container("first", sh="echo hello > /data/x", volumeMounts=[{"name": "data", "mountPath": "/data"}])
        ],
    }
    line = "cat /shared/x; rm /shared/x && exit 0"
    out = await run_to_end(node, "web", line, pod=pod, volumeMounts=[{"name": "data", "mountPath": "/shared"}])
    assert out == "hello\n"
    assert not Path("/data").exists()
    assert not Path("/shared").exists()


async def test_host_paths_sub_paths_and_downward_api(node):
    host = node.folder / "host"
    (host / "in").mkdir(parents=True)
    (host / "in" / "x").write_text("from the host\n")
    pod = {
        "volumes": [
            {"name": "host", "hostPath": {"path": str(host), "type": "Directory"}},
            {"name": "info", "downwardAPI": {"items": [
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                {"path": "cpu", "resourceFieldRef": {
                    "containerName": "app", "resource": "limits.cpu", "divisor": "1m",
                }},
            ]}},
        ]
    }  # fmt: skip
    mounts = [
        {"name": "host", "mountPath": "/mnt", "subPath": "in"},
        {"name": "info", "mountPath": "/info"},
    ]
    line = "cat /mnt/x /info/name; echo; cat /info/cpu"
    out = await run_to_end(
        node, "web", line, pod=pod, volumeMounts=mounts, resources={"limits": {"cpu": "250m", "memory": "64Mi"}}
    )
    assert out == "from the host\nweb\n250\n"


async def test_a_host_path_of_the_wrong_type_and_an_unknown_volume_are_told(node):
    for name, volume in (
        ("file", {"hostPath": {"path": "/etc", "type": "File"}}),
        ("claim", {"persistentVolumeClaim": {"claimName": "x"}}),
        ("nfs", {"nfs": {"server": "x", "path": "/"}}),
        ("escape", {"emptyDir": {}}),
    ):
        mount = {"name": "v", "mountPath": "/v", **({"subPath": "../.."} if name == "escape" else {})}
        await node.create(name, {"containers": [container(volumeMounts=[mount])], "volumes": [{"name": "v", **volume}]})
        await node.until(name, lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    told = {name: dict(await node.events(name))["FailedMount"] for name in ("file", "claim", "nfs", "escape")}
    assert "is not a File" in told["file"]
    assert 'persistentvolumeclaim "x" not found' in told["claim"]
    assert "nfs volumes are not offered" in told["nfs"]
    assert "must not leave the volume" in told["escape"]


async def test_the_pod_has_its_own_name_hosts_processes_and_not_our_state(node):
    node.agent._node  # noqa: B018
    line = f"hostname; cat /etc/hosts; ls /proc | grep -c '^[0-9]'; ls -A {node.folder}/pods; echo end"
    out = await run_to_end(node, "web", line, pod={"hostAliases": [{"ip": "10.1.2.3", "hostnames": ["db", "db2"]}]})
    lines = out.splitlines()
    assert lines[0] == "web"
    assert "10.1.2.3\tdb\tdb2" in lines
    assert any(line.startswith("10.244.") and line.endswith("\tweb") for line in lines)
    assert int(lines[-2]) < 10
    assert lines[-1] == "end"


async def test_a_pod_may_call_itself_otherwise(node):
    pod = {"hostnameOverride": "my.fancy.name", "subdomain": "web"}
    lines = (await run_to_end(node, "web", "hostname; cat /etc/hosts", pod=pod)).splitlines()
    assert lines[0] == "my.fancy.name"
    assert any(line.startswith("10.244.") and line.endswith("\tmy.fancy.name") for line in lines)


async def test_a_mount_over_the_hosts_file_wins(node):
    (node.folder / "own").write_text("10.9.8.7 mine\n")
    pod = {"volumes": [{"name": "own", "hostPath": {"path": str(node.folder / "own")}}]}
    mounts = [{"name": "own", "mountPath": "/etc/hosts"}]
    assert await run_to_end(node, "web", "cat /etc/hosts", pod=pod, volumeMounts=mounts) == "10.9.8.7 mine\n"


async def test_identity_and_capabilities_are_as_asked(node):
    line = "id -u; id -g; id -G; grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status"
    context = {"runAsUser": 12345, "runAsGroup": 54321, "capabilities": {"drop": ["ALL"]}}
    out = await run_to_end(
        node,
        "web",
        line,
        securityContext=context,
        pod={"securityContext": {"supplementalGroups": [777], "fsGroup": 888}},
    )
    lines = out.split("\n")
    assert lines[:2] == ["12345", "54321"]
    assert set(lines[2].split()) == {"54321", "777", "888"}
    assert "CapEff:\t0000000000000000" in lines
    assert "CapBnd:\t0000000000000000" in lines
    assert "NoNewPrivs:\t1" in lines


async def test_what_no_container_may_have_is_refused_with_a_reason(node):
    cases = {
        "root": {"runAsNonRoot": True, "runAsUser": 0},
        "privileged": {"privileged": True},
        "capability": {"capabilities": {"add": ["SYS_ADMIN"]}},
    }
    for name, context in cases.items():
        await node.create(name, {"containers": [container(securityContext=context)]})
        seen = await node.until(name, lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
        assert state(seen)["state"]["waiting"]["reason"] == "CreateContainerConfigError"


async def test_a_container_over_its_memory_limit_is_oom_killed(node):
    line = "python3 -c 'x = bytearray(200 << 20); print(len(x))'; echo $?; exit 9"
    line = "exec python3 -c 'x = bytearray(200 << 20); print(len(x))'"
    spec = container(sh=line, resources={"limits": {"memory": "50Mi"}})
    await node.create("big", {"restartPolicy": "Never", "containers": [spec]})
    seen = await node.until("big", lambda pod: pod["status"].get("phase") == "Failed")
    ended = state(seen)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_without_cgroups_a_process_is_held_to_what_setrlimit_can_and_an_event_says_so(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    none = cgroups.Cgroups(folder.name, root=tmp_path)
    assert none.why
    network = loopback.LoopbackNetwork(folder.name)
    await network.start()
    made = houses.House(folder, network=network, namespaces=(), cgroups=none)
    await made.start()
    try:
        out = await run_to_end(made, "bounded", "ulimit -d", resources={"limits": {"memory": "64Mi"}})
        assert out == f"{(2 * 64 + 256) << 10}\n"
        assert "LimitsNotEnforced" in dict(await made.events("bounded"))
    finally:
        await made.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_cpu_limit_holds(node):
    spec = container(sh="exec sh -c 'while :; do :; done'", resources={"limits": {"cpu": "200m"}})
    await node.create("busy", {"terminationGracePeriodSeconds": 1, "containers": [spec]})
    await node.until("busy", ready)
    async with asyncio.timeout(15):
        while (
            not (found := node.agent.usage.usage("default", "busy", window_seconds=3))
            or found["app"].window_seconds < 2
        ):
            await asyncio.sleep(0.1)
    assert found["app"].cpu_cores < 0.3


async def test_last_words_come_from_the_file_or_the_log(node):
    await node.create(
        "file", {"restartPolicy": "Never", "containers": [container(sh="echo why > /dev/termination-log; exit 3")]}
    )
    seen = await node.until("file", lambda pod: pod["status"].get("phase") == "Failed")
    assert state(seen)["state"]["terminated"]["message"] == "why\n"
    spec = container(sh="echo oh; echo no; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
    await node.create("log", {"restartPolicy": "Never", "containers": [spec]})
    seen = await node.until("log", lambda pod: pod["status"].get("phase") == "Failed")
    assert state(seen)["state"]["terminated"]["message"] == "oh\nno"


async def test_a_sidecar_starts_before_and_ends_after_the_others(node):
    side = "trap 'echo side >> /data/order; cat /data/order; exit 0' TERM; echo up > /data/order; "
    side += "while :; do sleep 60 & wait $!; done"
    pod = {
        "volumes": [{"name": "data", "emptyDir": {}}],
        "initContainers": [container(
            "side", restartPolicy="Always", volumeMounts=[{"name": "data", "mountPath": "/data"}],
            sh=side,
            startupProbe={"exec": {"command": ["test", "-e", "/data/order"]}, "periodSeconds": 1},
        )],
    }  # fmt: skip
    line = "trap 'echo app >> /data/order; exit 0' TERM; touch /data/up; while :; do sleep 60 & wait $!; done"
    probe = {"exec": {"command": ["test", "-e", "/data/up"]}, "periodSeconds": 1}
    await node.create(
        "web",
        {
            "containers": [
                container(sh=line, readinessProbe=probe, volumeMounts=[{"name": "data", "mountPath": "/data"}])
            ],
            **pod,
        },
    )
    seen = await node.until("web", ready)
    assert "running" in state(seen, "side")["state"]
    lines = []

    async def follow():
        async for piece in node.agent.logs("default", "web", "side", follow=True):
            lines.append(piece)

    following = asyncio.ensure_future(follow())
    await node.client.delete(kinds.POD, "web", namespace="default")
    await node.gone("web")
    await following
    assert b"".join(lines) == b"up\napp\nside\n"


async def test_a_job_like_pod_ends_its_sidecar(node):
    pod = {"initContainers": [container("side", restartPolicy="Always")]}
    assert await run_to_end(node, "job", "echo done", pod=pod) == "done\n"


async def test_what_is_not_honoured_is_told(node):
    spec = {"containers": [container(ports=[{"containerPort": 80, "hostPort": 80}])], "hostPID": True}
    await node.create("web", spec)
    await node.until("web", ready)
    told = dict(await node.events("web"))["FieldNotHonoured"]
    for field in ("spec.hostPID", "spec.containers[0].ports[0].hostPort"):
        assert field in told


async def test_nothing_of_a_pod_is_left_on_the_disk(node):
    pod = {"volumes": [{"name": "data", "emptyDir": {}}]}
    spec = container(volumeMounts=[{"name": "data", "mountPath": "/data"}], resources={"limits": {"memory": "64Mi"}})
    await node.create("web", {"containers": [spec], **pod})
    seen = await node.until("web", ready)
    await node.client.delete(kinds.POD, "web", namespace="default")
    await node.gone("web")
    assert os.listdir(node.folder / "pods") == []
    assert not list(Path("/sys/fs/cgroup").glob(f"*/fairlead/*/{seen['metadata']['uid']}"))


async def test_a_port_that_only_the_pod_itself_reaches_can_be_forwarded(node):
    serve = "import socket\ns = socket.create_server(('127.0.0.1', 9000))\nprint('up', flush=True)\n"
    serve += "while True:\n  c = s.accept()[0]; c.sendall(b'hi'); c.close()"
    await node.create("web", {"containers": [{"name": "app", "image": "x", "command": ["python3", "-c", serve]}]})
    await node.until("web", ready)
    async with asyncio.timeout(10):
        async for _ in node.agent.logs("default", "web", follow=True):
            break
        reader, writer = await node.agent.connect("default", "web", 9000)
        assert await reader.read() == b"hi"
        writer.close()
        with pytest.raises(OSError, match=r"refused|Connect"):
            await node.agent.connect("default", "web", 9999)
