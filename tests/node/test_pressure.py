"""When the node is short of something: the kubelet's thresholds, its patience, and who is told."""

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path

import house as houses
import pytest

from fairlead.api import kinds
from fairlead.node import node_object, pressure
from fairlead.testing import clock as clocks

PLENTY = {
    "disk_bytes": 50 << 30, "disk_total_bytes": 100 << 30, "inodes": 500, "inodes_total": 1000,
    "memory_bytes": 1 << 30, "processes": 30000, "processes_total": 32768,
}  # fmt: skip
GIB = 1 << 30


@pytest.mark.parametrize(
    ("less", "short"),
    [
        ({}, {}),
        ({"disk_bytes": 10 * GIB}, {}),
        ({"disk_bytes": 10 * GIB - 1}, {"DiskPressure": "10.0 of 100.0 GiB are free, less than 10 %"}),
        ({"inodes": 49}, {"DiskPressure": "49 of 1000 inodes are free, less than 5 %"}),
        ({"inodes": 0, "inodes_total": 0}, {}),
        ({"memory_bytes": 100 << 20}, {}),
        ({"memory_bytes": 99 << 20}, {"MemoryPressure": "99 MiB of memory are available, less than 100 MiB"}),
        ({"processes": 1000}, {"PIDPressure": "1000 of 32768 processes are left, less than 5 %"}),
    ],
)
def test_the_kubelets_thresholds(less, short):
    assert pressure.shortages(pressure.Signals(**PLENTY | less)) == short


def test_a_shortage_is_told_at_once_and_its_end_after_five_minutes_without():
    state = pressure.Pressure()
    plenty, full = pressure.Signals(**PLENTY), pressure.Signals(**PLENTY | {"disk_bytes": 5 * GIB})
    assert state.observe(plenty, 0.0) == []
    (begun,) = state.observe(full, 10.0)
    assert (begun.warning, begun.reason) == (True, "NodeHasDiskPressure")
    assert "5.0 of 100.0 GiB are free" in begun.message
    assert state.observe(full, 20.0) == state.observe(plenty, 30.0) == []
    assert state.observe(full, 300.0) == state.observe(plenty, 599.0) == []
    assert state.conditions()[1][:3] == ("DiskPressure", "True", "KubeletHasDiskPressure")
    assert state.conditions()[1][4] == 10.0
    (ended,) = state.observe(plenty, 600.0)
    assert (ended.warning, ended.reason) == (False, "NodeHasNoDiskPressure")
    assert state.conditions()[1] == (
        "DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure", 600.0,
    )  # fmt: skip


def test_this_machine_can_be_read(tmp_path):
    found = pressure.Gauge(tmp_path).read()
    assert 0 < found.disk_bytes <= found.disk_total_bytes
    assert 0 < found.processes < found.processes_total
    assert found.memory_bytes > 0
    assert pressure.Gauge(tmp_path / "nothing").read().disk_total_bytes == 0


async def _disk(house):
    node = await house.client.get(kinds.NODE, houses.NODE)
    found = {one["type"]: one for one in node["status"]["conditions"]}
    assert found["Ready"]["status"] == "True"
    return found["DiskPressure"]


async def test_a_full_disk_is_told_on_the_node_and_pods_still_come(own_network):
    folder = Path(tempfile.mkdtemp(prefix="fl-node-"))
    (folder / "pods").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder / "pods"], check=True)
    time = clocks.FakeClock()
    house = houses.House(folder)
    try:
        await house.start()
        node = node_object.NodeObject(house.agent._node, house.agent._doors)
        house.agent._doors.clock = time
        assert (await _disk(house))["status"] == "False"
        (folder / "pods" / "large").write_bytes(bytes(60 << 20))
        running = asyncio.create_task(node.run())
        while (found := await _disk(house))["status"] != "True":
            await time.advance(node_object.RENEW_SECONDS)
        assert found["reason"] == "KubeletHasDiskPressure"
        reason, message = (await house.events(houses.NODE))[-1]
        assert (reason, "less than 10 %" in message) == ("NodeHasDiskPressure", True)
        assert not (await house.client.get(kinds.NODE, houses.NODE))["spec"].get("taints")
        (folder / "pods" / "large").unlink()
        while (await _disk(house))["status"] == "True":
            await time.advance(node_object.RENEW_SECONDS)
        assert (await house.events(houses.NODE))[-1][0] == "NodeHasNoDiskPressure"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        await house.stop()
        subprocess.run(["umount", folder / "pods"], check=True)
        shutil.rmtree(folder, ignore_errors=True)
