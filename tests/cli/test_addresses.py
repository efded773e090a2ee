"""Where things are reached, and which names addresses stand for."""

from __future__ import annotations

from fairlead.cli import addresses, resolve
from fairlead.cluster import state

SERVICE = {
    "metadata": {"namespace": "shop", "name": "web"},
    "spec": {
        "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9", "fd00:10:96::9"],
        "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}],
    },
}


def test_a_service_is_told_at_each_of_its_addresses() -> None:
    assert [url for url, _ in addresses.service_urls([SERVICE], state.Record(network="kernel"))] == [
        "http://10.96.0.9/", "http://[fd00:10:96::9]/", "udp://10.96.0.9:53/", "udp://[fd00:10:96::9]:53/",
    ]  # fmt: skip


def test_an_address_stands_for_a_name_below_arpa_and_a_name_for_none() -> None:
    assert resolve.reversed_name("10.96.0.9") == "9.0.96.10.in-addr.arpa."
    assert resolve.reversed_name("[fd00::9]") == resolve.reversed_name("fd00::9") == f"9.{'0.' * 28}0.d.f.ip6.arpa."
    assert resolve.reversed_name("my-app-service") == resolve.reversed_name("1.2.3") == ""


def test_where_it_may_not_listen_at_a_port_it_is_told_at_the_one_that_is_carried() -> None:
    found = [url for url, _ in addresses.service_urls([SERVICE], state.Record(network="loopback"))]
    assert found[::2] == ["http://10.96.0.9:8080/", "udp://10.96.0.9:8053/"]


def test_a_load_balancer_is_at_the_addresses_of_its_status() -> None:
    entry = {"ip": "127.0.0.1", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "error": "PortTaken"}]}
    service = {**SERVICE, "status": {"loadBalancer": {"ingress": [entry]}}}
    assert addresses.load_balancer_urls([service, SERVICE]) == [("http://127.0.0.1/", "shop/web")]
