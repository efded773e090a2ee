"""What a cluster says of balancing at connect time where there is none."""

import pytest

from fairlead.cluster import config, errors, kernel_planes, state
from fairlead.node.network import loopback
from fairlead.testing import clock


def made(tmp_path, connect_time):
    folder = state.StateFolder.of("tests", root=tmp_path)
    folder.create()
    wanted = config.ClusterConfig(connect_time=connect_time)
    return folder, kernel_planes.KernelPlanes(folder, wanted, clock=clock.FakeClock(), on_failure=lambda *_: None)


async def test_without_a_network_of_services_a_start_that_asks_for_it_ends_with_the_reason(tmp_path):
    _, planes = made(tmp_path, "on")
    assert await planes.start(loopback.LoopbackNetwork("tests"), state.Record()) == []
    with pytest.raises(errors.CannotStart, match="--connect-time on: Services have no network of their own"):
        await planes.begin()
    await planes.close()


async def test_where_nobody_asks_the_record_says_why_not(tmp_path):
    folder, planes = made(tmp_path, "auto")
    record = state.Record()
    await planes.start(loopback.LoopbackNetwork("tests"), record)
    assert record.connect_time.startswith("not yet")
    await planes.begin()
    assert folder.read().connect_time == "off: Services have no network of their own in loopback mode"
    await planes.close()
