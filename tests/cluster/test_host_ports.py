"""Ports of the host stay open through our death, and go with the pods that went meanwhile."""

from pathlib import Path

from fairlead.base import clock
from fairlead.cluster import host_ports
from fairlead.dataplane import coordinator
from fairlead.node import protocols
from fairlead.routing import table
from fairlead.testing import planes

WEB = protocols.HostPort("tcp", "0.0.0.0", 8081, "10.244.0.7", 80)
WEB6 = protocols.HostPort("tcp", "::1", 8083, "10.244.0.7", 80)
DNS = protocols.HostPort("udp", "127.0.0.1", 53, "10.244.0.8", 5353)


def failed(where: str, error: BaseException) -> None:
    raise error


def life(file: Path, *everywhere: str) -> tuple[host_ports.HostPorts, planes.FakePlane]:
    """A new process: planes that know nothing yet."""
    plane = planes.FakePlane()
    return host_ports.HostPorts(
        coordinator.Coordinator([plane], clock=clock.SystemClock(), on_failure=failed), file, everywhere=everywhere
    ), plane


async def test_the_next_lifes_first_table_has_the_ports_that_were_open(tmp_path: Path) -> None:
    ports, _ = life(tmp_path / "ports.json")
    assert await ports.open("u1", "default/web", [WEB]) == ""
    assert await ports.open("u2", "default/dns", [DNS]) == ""
    ports, plane = life(tmp_path / "ports.json")
    await ports.apply(table.Structure())
    assert plane.structure.listeners["host-port/tcp/0.0.0.0/8081"].sockets == ("tcp:0.0.0.0:8081",)
    assert plane.endpoints["host-port/udp/127.0.0.1/53"][0].address == "10.244.0.8"
    await ports.forget_others({"u1"})
    assert list(plane.structure.listeners) == ["host-port/tcp/0.0.0.0/8081"]
    assert "taken by pod default/web" in await ports.open("u3", "default/other", [WEB])
    assert await ports.open("u1", "default/web", [WEB]) == ""


async def test_a_port_without_an_address_is_on_both_families_and_leads_to_the_first_address(tmp_path: Path) -> None:
    ports, plane = life(tmp_path / "ports.json", "0.0.0.0", "::")
    everywhere = protocols.HostPort("tcp", "", 8082, "10.244.0.7", 80)
    assert await ports.open("u1", "default/web", [everywhere, WEB6]) == ""
    found = plane.structure.listeners
    assert found["host-port/tcp/*/8082"].sockets == ("tcp:0.0.0.0:8082", "tcp:[::]:8082")
    assert found["host-port/tcp/::1/8083"].sockets == ("tcp:[::1]:8083",)
    assert plane.endpoints["host-port/tcp/*/8082"][0].address == "10.244.0.7"


async def test_a_pod_that_ended_leaves_nothing_to_the_next_life(tmp_path: Path) -> None:
    ports, _ = life(tmp_path / "ports.json")
    await ports.open("u1", "default/web", [WEB])
    ports.shut()
    await ports.close("u1")
    assert list(tmp_path.iterdir()) == []
    ports, plane = life(tmp_path / "ports.json")
    await ports.apply(table.Structure())
    assert plane.structure.listeners == {}
