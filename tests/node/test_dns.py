"""What a pod's resolv.conf says: the kubelet's own cases (`TestGetPodDNS`, those of the limits) and some more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairlead.node import dns

HOST = dns.Config(("192.0.2.53",), ("host.example",), ("timeout:1",))
CLUSTER = "10.244.0.1"
OWN = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def formed(cluster: str = CLUSTER, host: dns.Config = HOST, **spec: Any) -> dns.Formed:
    return dns.form({"metadata": {"namespace": "shop", "name": "p"}, "spec": spec}, host=host, cluster=cluster)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, dns.Config((CLUSTER,), (*OWN, "host.example"), ("ndots:5",))),
        ({"dnsPolicy": "ClusterFirst"}, dns.Config((CLUSTER,), (*OWN, "host.example"), ("ndots:5",))),
        ({"dnsPolicy": "ClusterFirst", "hostNetwork": True}, HOST),
        (
            {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True},
            dns.Config((CLUSTER,), (*OWN, "host.example"), ("ndots:5",)),
        ),
        ({"dnsPolicy": "Default"}, HOST),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["203.0.113.1"]}}, dns.Config(("203.0.113.1",))),
    ],
    ids=str,
)
def test_the_policy_gives_the_base(spec: dict[str, Any], wanted: dns.Config) -> None:
    assert formed(**spec) == dns.Formed(wanted)


def test_the_pods_own_wishes_are_merged_into_the_base() -> None:
    wishes = {
        "nameservers": ["203.0.113.1", CLUSTER],
        "searches": ["own.example", "cluster.local"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    assert formed(dnsConfig=wishes).config == dns.Config(
        (CLUSTER, "203.0.113.1"), (*OWN, "host.example", "own.example"), ("ndots:2", "edns0")
    )


def test_a_cluster_without_dns_for_pods_leaves_them_the_hosts() -> None:
    assert formed(cluster="").config == HOST


def test_a_fourth_nameserver_is_left_out_and_told() -> None:
    found = formed(dnsConfig={"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]})
    assert found.config.nameservers == (CLUSTER, "192.0.2.1", "192.0.2.2")
    (problem,) = found.problems
    assert problem == (
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        f"the applied nameserver line is: {CLUSTER} 192.0.2.1 192.0.2.2"
    )


@pytest.mark.parametrize(
    ("searches", "kept"),
    [
        ([f"s{number}" for number in range(40)], 28),  # 32 with the four that are there
        (["x" * 254, "fine"], 1),
        (["a" * 200] + [letter * 200 for letter in "bcdefghijklm"], 9),
    ],
)
def test_searches_that_the_c_library_cannot_take_are_left_out_and_told(searches: list[str], kept: int) -> None:
    found = formed(dnsConfig={"searches": searches})
    assert len(found.config.searches) == 4 + kept
    assert len(" ".join(found.config.searches)) <= 2048
    (problem,) = found.problems
    assert problem.startswith("Search Line limits were exceeded, some search paths have been omitted")


def test_a_resolv_conf_is_read_as_the_kubelet_reads_it() -> None:
    text = (
        "# x\nsearch a.example.\nnameserver 192.0.2.1\nnameserver ::1\noptions a b:1\nsearch b.example. .\noptions c\n"
    )
    found = dns.parse(text)
    assert found == dns.Config(("192.0.2.1", "::1"), ("b.example", "."), ("a", "b:1", "c"))
    assert dns.parse(found.text()) == found


def test_a_pod_with_a_network_of_its_own_does_not_get_the_hosts_loopback() -> None:
    stub = dns.Config(("127.0.0.53",), ("lan",), ("edns0",))
    behind = dns.Config(("192.0.2.1", "192.0.2.2"))
    assert dns.without_loopback(stub, CLUSTER, behind=behind) == dns.Config(behind.nameservers, ("lan",), ("edns0",))
    assert dns.without_loopback(stub, CLUSTER, behind=dns.Config()).nameservers == (CLUSTER,)
    assert dns.without_loopback(HOST, CLUSTER, behind=dns.Config()) is HOST


def test_where_nothing_can_be_mounted_the_c_library_is_told_by_variables() -> None:
    spec = {"dnsConfig": {"nameservers": ["192.0.2.1"], "searches": ["a", "b"], "options": [{"name": "rotate"}]}}
    assert dns.variables({"spec": spec}) == {"LOCALDOMAIN": "a b", "RES_OPTIONS": "rotate"}
    assert dns.variables({"spec": {}}) == {}


def test_a_resolver_that_changes_is_seen_by_the_next_pod(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert dns.of_file(str(file)) == dns.Config()
    file.write_text("nameserver 192.0.2.1\n")
    assert dns.of_file(str(file)).nameservers == ("192.0.2.1",)
    file.write_text("nameserver 192.0.2.1\nsearch example.org\n")
    assert dns.of_file(str(file)).searches == ("example.org",)
    file.unlink()
    assert dns.of_file(str(file)) == dns.Config()
