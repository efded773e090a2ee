"""Volumes that are more than files: claims, ServiceAccount tokens, memory, limits, a read-only root, sysctls."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import house as houses
import pytest
import pytest_asyncio
from house import container, ready, state
from test_pod_contents import make, run_to_end

from fairlead.api import kinds
from fairlead.node.network import kernel

pytestmark = [
    pytest.mark.usefixtures("own_network"),
    pytest.mark.system,
    pytest.mark.skipif(len(houses.engine()) > 1, reason="needs the engine's shim: set FAIRLEAD_ENGINE"),
]
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest_asyncio.fixture
async def node(own_network):
    network = kernel.KernelNetwork("tests")
    await network.start()
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    made = houses.House(folder, network=network, namespaces=("mnt", "uts", "ipc", "pid"))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        assert not any(str(folder) in line for line in Path("/proc/self/mountinfo").read_text().splitlines())
        shutil.rmtree(folder, ignore_errors=True)


async def bound(node, name, folder, **spec):
    """A claim that is bound to a folder, as the binder leaves it."""
    volume = {"hostPath": {"path": str(folder), "type": "DirectoryOrCreate"}, "accessModes": ["ReadWriteOnce"], **spec}
    await node.client.create(kinds.PERSISTENT_VOLUME, {"metadata": {"name": f"pv-{name}"}, "spec": volume})
    await make(node, kinds.PERSISTENT_VOLUME_CLAIM, name, spec={"volumeName": f"pv-{name}"})
    status = {"status": {"phase": "Bound"}}
    await node.client.patch(kinds.PERSISTENT_VOLUME_CLAIM, name, status, namespace="default", subresource="status")


async def test_a_claims_folder_outlives_the_pods_that_write_to_it(node):
    await bound(node, "data", node.folder / "volumes" / "one")
    pod = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
    mounts = [{"name": "v", "mountPath": "/data"}]
    await run_to_end(node, "first", "echo kept > /data/x", pod=pod, volumeMounts=mounts)
    await node.client.delete(kinds.POD, "first", namespace="default")
    await node.gone("first")
    assert await run_to_end(node, "second", "cat /data/x", pod=pod, volumeMounts=mounts) == "kept\n"


async def test_a_claim_that_is_read_only_is_mounted_so(node):
    await bound(node, "data", node.folder / "volumes" / "one", accessModes=["ReadOnlyMany"])
    pod = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
    line = "echo x > /data/x || echo refused"
    assert "refused" in await run_to_end(node, "web", line, pod=pod, volumeMounts=[{"name": "v", "mountPath": "/data"}])


async def test_a_claim_of_one_pod_at_a_time_keeps_the_second_waiting(node):
    await bound(node, "data", node.folder / "volumes" / "one", accessModes=["ReadWriteOncePod"])
    only = {"spec": {"accessModes": ["ReadWriteOncePod"]}}
    await node.client.patch(kinds.PERSISTENT_VOLUME_CLAIM, "data", only, namespace="default")
    pod = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
    mounts = [{"name": "v", "mountPath": "/data"}]
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container(volumeMounts=mounts)], **pod}
    await node.create("first", spec)
    await node.until("first", ready)
    await node.create("second", spec)
    seen = await node.until("second", lambda pod: (state(pod).get("state") or {}).get("waiting", {}).get("message"))
    assert "already in use by another pod" in state(seen)["state"]["waiting"]["message"]
    assert '"first"' in state(seen)["state"]["waiting"]["message"]
    assert "FailedMount" in dict(await node.events("second"))
    await node.client.delete(kinds.POD, "first", namespace="default")
    await node.until("second", ready)


async def test_an_unbound_claim_is_waited_for(node):
    await make(node, kinds.PERSISTENT_VOLUME_CLAIM, "data", spec={})
    pod = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
    await node.create("web", {"containers": [container(volumeMounts=[{"name": "v", "mountPath": "/data"}])], **pod})
    seen = await node.until("web", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    assert "unbound immediate PersistentVolumeClaims" in state(seen)["state"]["waiting"]["message"]


async def test_a_token_volume_holds_token_ca_and_namespace(node):
    await make(node, kinds.SERVICE_ACCOUNT, "robot")
    await make(node, kinds.CONFIG_MAP, "kube-root-ca.crt", data={"ca.crt": "CA"})
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    pod = {"serviceAccountName": "robot", "volumes": [{"name": "kube-api-access-x", "projected": {"sources": sources}}]}
    mounts = [{"name": "kube-api-access-x", "mountPath": ACCOUNT, "readOnly": True}]
    line = f"cd {ACCOUNT}; cat token; echo; cat ca.crt; echo; cat namespace; stat -Lc %a token"
    out = await run_to_end(node, "web", line, pod=pod, volumeMounts=mounts)
    token, ca, *rest = out.splitlines()
    assert token.startswith("default/robot kubernetes ")
    assert (ca, rest) == ("CA", ["default644"])


async def test_memory_is_a_file_system_of_the_size_asked_for_and_is_shared(node):
    pod = {"volumes": [{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]}
    line = "stat -fc %T /m; cat /m/first; head -c 2000000 /dev/zero > /m/big || echo full"
    first = [container("one", sh="echo hello > /m/first", volumeMounts=[{"name": "m", "mountPath": "/m"}])]
    out = await run_to_end(
        node, "web", line, pod={**pod, "initContainers": first}, volumeMounts=[{"name": "m", "mountPath": "/m"}]
    )
    assert out.splitlines()[:2] == ["tmpfs", "hello"] and "full" in out


@pytest.mark.parametrize(
    ("volume", "limits", "line", "message"),
    [
        ({"sizeLimit": "1Mi"}, {}, "> /d/big", 'Usage of EmptyDir volume "d" exceeds the limit "1Mi".'),
        ({}, {"ephemeral-storage": "1Mi"}, "> /d/big", "Pod ephemeral local storage usage exceeds the total limit of"),
        ({}, {"ephemeral-storage": "1Mi"}, "| tr '\\0' '\\n'", "usage exceeds the total limit of containers 1Mi. "),
    ],
    ids=["empty-dir", "pod", "log"],
)
async def test_a_pod_that_outgrows_a_limit_of_the_disk_is_evicted_at_once(node, volume, limits, line, message):
    pod = {"volumes": [{"name": "d", "emptyDir": volume}], "terminationGracePeriodSeconds": 60}
    line = f"trap : TERM; head -c 3000000 /dev/zero {line}; touch /d/done; while :; do sleep 1; done"
    mounts = [{"name": "d", "mountPath": "/d"}]
    probe = {"exec": {"command": ["test", "-e", "/d/done"]}, "periodSeconds": 1}
    web = container(sh=line, volumeMounts=mounts, readinessProbe=probe, resources={"limits": limits})
    await node.create("web", {"containers": [web], **pod})
    await node.until("web", ready)
    owner = node.agent._find("default", "web")
    await owner.refresh_volumes(owner.place)
    seen = await node.until("web", lambda pod: pod["status"]["phase"] == "Failed")
    assert seen["status"]["reason"] == "Evicted"
    assert message in seen["status"]["message"]


async def test_a_host_path_of_no_type_that_is_not_there_is_made(node):
    folder = node.folder / "not" / "yet"
    pod = {"volumes": [{"name": "h", "hostPath": {"path": str(folder), "type": ""}}]}
    mounts = [{"name": "h", "mountPath": "/h"}]
    assert await run_to_end(node, "web", "echo kept > /h/x; cat /h/x", pod=pod, volumeMounts=mounts) == "kept\n"
    assert (folder / "x").read_text() == "kept\n"


async def test_a_read_only_root_is_read_only_and_volumes_are_not(node):
    pod = {"volumes": [{"name": "d", "emptyDir": {}}]}
    line = "(echo x > /root/x) 2>/dev/null || echo refused; echo y > /d/y && cat /d/y"
    out = await run_to_end(
        node, "web", line, pod=pod, volumeMounts=[{"name": "d", "mountPath": "/d"}],
        securityContext={"readOnlyRootFilesystem": True},
    )  # fmt: skip
    assert out.split() == ["refused", "y"]
    assert "FieldNotHonoured" not in dict(await node.events("web"))


async def test_sysctls_of_the_pods_own_network_are_set_and_others_keep_it_from_starting(node):
    pod = {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "30000 30100"}]}}
    out = await run_to_end(node, "web", "cat /proc/sys/net/ipv4/ip_local_port_range", pod=pod)
    assert out.split() == ["30000", "30100"]
    bad = {"securityContext": {"sysctls": [{"name": "vm.swappiness", "value": "1"}]}}
    await node.create("bad", {"containers": [container()], **bad})
    async with asyncio.timeout(10):
        while "FailedCreatePodSandBox" not in (told := dict(await node.events("bad"))):
            await asyncio.sleep(0.02)
    assert "vm.swappiness" in told["FailedCreatePodSandBox"]


async def test_a_sub_path_is_made_of_variables_and_may_not_leave_the_volume(node):
    pod = {"volumes": [{"name": "d", "emptyDir": {}}]}
    named = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    mounts = [
        {"name": "d", "mountPath": "/mine", "subPathExpr": "$(POD_NAME)"},
        {"name": "d", "mountPath": "/all"},
    ]
    out = await run_to_end(
        node, "web", "echo hello > /mine/x; cat /all/web/x", pod=pod, volumeMounts=mounts, env=[named]
    )
    assert out == "hello\n"
    bad = [{"name": "d", "mountPath": "/mine", "subPathExpr": "$(PLACE)"}]
    for name, place, why in (
        ("far", "/tmp", "must be relative"),
        ("up", "..", "must be"),
        ("none", "", "missing value"),
    ):
        env = [{"name": "PLACE", "value": place}]
        await node.create(name, {"containers": [container(volumeMounts=bad, env=env)], **pod})
        seen = await node.until(name, lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
        assert why in state(seen)["state"]["waiting"]["message"]


async def test_a_sub_path_that_fails_may_be_mended_while_the_pod_waits(node):
    named = {"name": "PLACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['place']"}}}
    mounts = [{"name": "d", "mountPath": "/mine", "subPathExpr": "$(PLACE)"}, {"name": "d", "mountPath": "/all"}]
    line = "echo hello > /mine/x; cat /all/here/x; sleep 600"
    await node.create(
        "web", {"volumes": [{"name": "d", "emptyDir": {}}],
                "containers": [container(sh=line, volumeMounts=mounts, env=[named])]},
    )  # fmt: skip
    seen = await node.until("web", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    assert "missing value for PLACE" in state(seen)["state"]["waiting"]["message"]
    await node.client.patch(kinds.POD, "web", {"metadata": {"annotations": {"place": "here"}}}, namespace="default")
    await node.until("web", ready)
    async with asyncio.timeout(10):
        while [piece async for piece in node.agent.logs("default", "web")] != [b"hello\n"]:
            await asyncio.sleep(0.02)
    assert state(await node.get("web"))["restartCount"] == 0
