"""Services of two address families, as kube-apiserver's `TestCreateInitIPFields` and `TestUpdateInitIPFields` say."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fairlead.apiserver import addresses
from fairlead.apiserver.behaviours import service_families, services

FOUR, SIX = "10.96.0.0/16", "fd00:10:96::/112"
BOTH = ["IPv4", "IPv6"]
Object = dict[str, Any]


def allocator(second: str = SIX) -> addresses.Allocator:
    return addresses.Allocator(FOUR, source=random.Random(1), second_cidr=second)


def settled(spec: Object, old: Object | None = None, *, second: str = SIX) -> Object | str:
    made = {"type": "ClusterIP", "selector": {"app": "a"}, **spec}
    if "clusterIPs" in made:
        made.setdefault("clusterIP", made["clusterIPs"][0])
    found = service_families.settle(made, old, allocator(second))
    return "; ".join(str(one) for one in found) or made


@pytest.mark.parametrize(
    ("spec", "families", "policy"),
    [
        ({}, ["IPv4"], "SingleStack"),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"], "SingleStack"),
        ({"ipFamilyPolicy": "PreferDualStack"}, BOTH, "PreferDualStack"),
        ({"ipFamilyPolicy": "RequireDualStack"}, BOTH, "RequireDualStack"),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"], "RequireDualStack"),
        ({"clusterIPs": ["fd00:10:96::7"]}, ["IPv6"], "SingleStack"),
        ({"clusterIP": "None"}, ["IPv4"], "SingleStack"),
        ({"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack"}, BOTH, "PreferDualStack"),
        ({"clusterIP": "None", "selector": {}}, BOTH, "RequireDualStack"),
    ],
)
def test_families_of_a_new_service(spec: Object, families: list[str], policy: str) -> None:
    made = settled(spec)
    assert isinstance(made, dict), made
    assert (made["ipFamilies"], made["ipFamilyPolicy"]) == (families, policy)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ipFamilies": BOTH}, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families"),
        ({"clusterIPs": ["10.96.0.7", "fd00:10:96::7"]}, "when multiple cluster IPs are specified"),
        ({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv4"]}, "Duplicate value"),
        (
            {"ipFamilyPolicy": "PreferDualStack", "clusterIPs": ["10.96.0.7", "10.96.0.8"]},
            "no more than one IP for each",
        ),
        (
            {"clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv6"]},
            "expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        ({"clusterIPs": ["None", "fd00:10:96::7"]}, "'None' must be the first and only value"),
    ],
)
def test_what_contradicts_itself_is_refused(spec: Object, message: str) -> None:
    assert message in str(settled(spec))


def test_a_cluster_of_one_family_refuses_the_other_and_prefers_one() -> None:
    assert "not configured for dual-stack" in str(settled({"ipFamilyPolicy": "RequireDualStack"}, second=""))
    assert "not configured on this cluster" in str(settled({"ipFamilies": ["IPv6"]}, second=""))
    assert "IPv6 is not configured on this cluster" in str(settled({"clusterIPs": ["fd00:10:96::7"]}, second=""))
    made = settled({"ipFamilyPolicy": "PreferDualStack"}, second="")
    assert isinstance(made, dict) and made["ipFamilies"] == ["IPv4"]


def test_a_policy_brings_the_second_family_and_takes_it() -> None:
    single = settled({"clusterIPs": ["10.96.0.7"]})
    assert isinstance(single, dict)
    both = settled({**single, "ipFamilyPolicy": "RequireDualStack"}, single)
    assert isinstance(both, dict) and both["ipFamilies"] == BOTH
    both["clusterIPs"] = ["10.96.0.7", "fd00:10:96::7"]
    again = settled({**both, "ipFamilyPolicy": "SingleStack"}, both)
    assert isinstance(again, dict)
    assert (again["clusterIPs"], again["ipFamilies"]) == (["10.96.0.7"], ["IPv4"])
    assert "to release the secondary cluster IP" in str(settled({**both, "clusterIPs": ["10.96.0.7"]}, both))


def test_who_preferred_two_when_there_was_one_keeps_one() -> None:
    old = settled({"clusterIPs": ["10.96.0.7"], "ipFamilyPolicy": "PreferDualStack"}, second="")
    assert isinstance(old, dict)
    now = settled(dict(old), old)
    assert isinstance(now, dict) and now["ipFamilies"] == ["IPv4"]


def test_both_addresses_are_kept_over_a_restart_and_freed() -> None:
    pool = allocator()
    second = pool.any_address(owner="a/b", family="IPv6")
    assert second.startswith("fd00:10:96::")
    spec = {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", second]}
    fresh = allocator()
    services.restore([{"metadata": {"namespace": "a", "name": "b"}, "spec": spec}], fresh)
    with pytest.raises(addresses.AllocationError, match="already allocated"):
        fresh.take_address(second, owner="a/c")
    fresh.keep("a/b", addresses={"10.96.0.9"}, ports=set())
    fresh.take_address(second, owner="a/c")
    with pytest.raises(addresses.AllocationError, match=r"range of valid IPs is fd00:10:96::/112"):
        fresh.take_address("fd01::1", owner="a/c")
