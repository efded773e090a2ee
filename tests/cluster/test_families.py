"""`--ip-family`: the families of a start, by what is asked and what the lives before had."""

from __future__ import annotations

import pytest

from fairlead.cluster import errors, families, state


def decide(word: str, **before: str) -> tuple[tuple[str, ...], bool]:
    found = families.decide(word, state.Record(**before))
    return found.order, found.all_required


def test_a_new_cluster_has_ipv4_and_ipv6_as_a_bonus_unless_asked() -> None:
    assert decide("auto") == (("IPv4", "IPv6"), False)
    assert decide("dual") == decide("ipv4,ipv6") == (("IPv4", "IPv6"), True)
    assert decide("ipv6") == (("IPv6",), True)
    assert decide("ipv6,ipv4") == (("IPv6", "IPv4"), True)


def test_the_next_life_is_what_the_last_was_asked_to_be() -> None:
    assert decide("auto", pod_cidr="fd00:10:244::/112", ip_family="ipv6") == (("IPv6",), True)
    assert decide("auto", pod_cidr="10.244.0.0/16") == (("IPv4", "IPv6"), False)
    assert decide("ipv4", pod_cidr="10.244.0.0/16", ip_family="dual") == (("IPv4",), True)


def test_another_first_family_is_refused_while_services_have_addresses() -> None:
    with pytest.raises(errors.CannotStart, match=r"--ip-family ipv6: the addresses that .* are IPv4 first"):
        decide("ipv6", pod_cidr="10.244.0.0/16")
    with pytest.raises(errors.CannotStart, match="IPv6 first"):
        decide("ipv4", pod_cidr="fd00:10:244::/112", ip_family="ipv6,ipv4")
