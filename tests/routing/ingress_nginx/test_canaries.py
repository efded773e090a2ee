"""Canaries: header before cookie before weight, and what a canary keeps of its main Ingress."""

from typing import Any

import pytest

ROOT = ("/", "Prefix", "main")
CANARY = ("/", "Prefix", "next")


def canary(world: Any, main: dict[str, str] | None = None, **annotations: str) -> None:
    words = {"canary": "true", **{key.replace("_", "-"): value for key, value in annotations.items()}}
    world.ingress("main", "a.example", ROOT, annotations=main)
    world.ingress("next", "a.example", CANARY, annotations=words)


def shares(world: Any, **headers: str) -> dict[str, int]:
    found = world.ask("http://a.example/x", headers={key.replace("_", "-"): value for key, value in headers.items()})
    return {name.partition("/")[2].partition(":")[0]: weight for name, weight in found.backends}


def test_weight_of_a_hundred_or_of_a_total(world: Any) -> None:
    canary(world, canary_weight="20")
    assert shares(world) == {"main": 80, "next": 20}
    world.ingresses.clear()
    canary(world, canary_weight="20", canary_weight_total="1000")
    assert shares(world) == {"main": 980, "next": 20}


@pytest.mark.parametrize(("weight", "only"), [("0", "main"), ("100", "next")])
def test_weights_at_the_ends(world: Any, weight: str, only: str) -> None:
    canary(world, canary_weight=weight)
    assert list(shares(world)) == [only]


def test_header_then_cookie_then_weight(world: Any) -> None:
    canary(world, canary_by_header="X-Canary", canary_by_cookie="tester", canary_weight="10")
    assert shares(world) == {"main": 90, "next": 10}
    assert shares(world, x_canary="always", cookie="tester=never") == {"next": 1}
    assert shares(world, x_canary="never", cookie="tester=always") == {"main": 1}
    assert shares(world, x_canary="else", cookie="a=b; tester=always") == {"next": 1}
    assert shares(world, cookie="tester=never; x=y") == {"main": 1}
    assert shares(world, cookie="xtester=always; tester=other") == {"main": 90, "next": 10}


def test_header_value_and_pattern(world: Any) -> None:
    canary(world, canary_by_header="Region", canary_by_header_value="eu", canary_by_header_pattern="us")
    assert [list(shares(world, region=value)) for value in ("eu", "us", "always")] == [["next"], ["main"], ["main"]]
    world.ingresses.clear()
    canary(world, canary_by_header="Region", canary_by_header_pattern="^(us|ca)-")
    assert [list(shares(world, region=value)) for value in ("us-1", "ca-2", "eu-us-1")] == [
        ["next"],
        ["next"],
        ["main"],
    ]


def test_a_canary_keeps_rewrite_and_affinity_of_its_main_ingress(world: Any) -> None:
    """Its own annotations count only for balancing."""
    world.ingress(
        "main", "a.example", ("/v(.*)", "ImplementationSpecific", "main"),
        annotations={"rewrite-target": "/$1", "affinity": "cookie"},
    )  # fmt: skip
    words = {"canary": "true", "canary-weight": "50", "rewrite-target": "/no", "load-balance": "ewma"}
    world.ingress("next", "a.example", ("/v(.*)", "ImplementationSpecific", "next"), annotations=words)
    found = world.ask("http://a.example/v/x")
    assert found.uri == "//x"
    backends = world.translate().structure.backends
    chosen = {name.partition("/")[2].partition(":")[0]: backends[name] for name, _ in found.backends}
    assert chosen["next"].algorithm == "ewma"
    assert chosen["main"].algorithm == ""
    assert chosen["next"].affinity == chosen["main"].affinity
    assert chosen["main"].affinity.sticky_split


def test_legacy_affinity_leaves_the_canary_without_it(world: Any) -> None:
    canary(world, {"affinity": "cookie"}, canary_weight="50", affinity_canary_behavior="legacy")
    found = world.ask("http://a.example/")
    backends = world.translate().structure.backends
    assert [backends[name].affinity is not None for name, _ in found.backends] == [True, False]
    assert not backends[found.backends[0][0]].affinity.sticky_split


def test_a_canary_joins_only_an_equal_path_and_is_told_otherwise(world: Any) -> None:
    world.ingress("main", "a.example", ROOT)
    words = {"canary": "true", "canary-weight": "50"}
    world.ingress("else", "a.example", ("/else", "Prefix", "next"), annotations=words)
    world.ingress("one", "a.example", CANARY, annotations=words)
    world.ingress("two", "a.example", CANARY, annotations=words)
    world.ingress("none", "a.example", CANARY, annotations={"canary": "true"})
    assert shares(world) == {"main": 50, "next": 50}
    place = "spec.rules[0].http.paths[0]"
    assert sorted(world.problems()) == [
        f"Conflict Ingress/default/two {place}",
        "InvalidCanary Ingress/default/none metadata.annotations",
        f"NoMainIngress Ingress/default/else {place}",
    ]
