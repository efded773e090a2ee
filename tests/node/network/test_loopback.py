"""Ranges of loopback mode: whose is which, in life and in death."""

import socket

import pytest

from fairlead.node.network import loopback

pytestmark = pytest.mark.usefixtures("own_network")


async def _started(name, *, wanted=""):
    made = loopback.LoopbackNetwork(name, wanted=wanted)
    await made.start()
    return made


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_dead_clusters_range_is_its_own_while_its_pods_listen_there(kind):
    first = await _started("first")
    address = first.allocate("pod").ip
    with socket.socket(socket.AF_INET, kind) as pod:
        pod.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            pod.listen()
        await first.release()  # what the kernel does when it dies
        other = await _started("other")
        assert other.cidr != first.cidr
        again = await _started("first", wanted=first.cidr)
        assert again.cidr == first.cidr
        assert again.allocate("pod", wanted=address).ip == address
    for one in (other, again):
        await one.release()
    after = await _started("after")
    assert after.cidr == first.cidr, "nobody listens there any more"
    await after.release()
