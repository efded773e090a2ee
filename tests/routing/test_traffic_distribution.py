"""Service.trafficDistribution: hints to the letter in the kernel, a preference that does not overload in the engine."""

from typing import Any

import pytest

from fairlead.routing import endpoints, settings, table, translate

WHERE = settings.Settings(node="n1", zone="a", network="kernel", gateway="10.244.0.1")
HERE = endpoints.Here("n1", "a")


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "appProtocol": "http"}, {"name": "raw", "port": 81}]
    meta = {"namespace": "shop", "name": "web", "annotations": spec.pop("annotations", {})}
    return {"kind": "Service", "metadata": meta, "spec": {"clusterIP": "10.96.0.9", "ports": ports, **spec}}


def slices() -> list[dict[str, Any]]:
    def entry(address: str, node: str, zone: str) -> dict[str, Any]:
        hints = {"forZones": [{"name": zone}]}
        return {"addresses": [address], "nodeName": node, "zone": zone, "hints": hints}

    found = [entry("10.0.0.1", "n1", "a"), entry("10.0.0.2", "n2", "a"), entry("10.0.0.3", "n3", "b")]
    ports = [{"name": "http", "port": 80}, {"name": "raw", "port": 81}]
    meta = {"namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}
    return [{"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": found}]


def of(one: dict[str, Any], name: str) -> tuple[table.Backend, list[tuple[str, str, str]]]:
    """The Backend, and (address, zone, node) of its endpoints."""
    translation = translate.translate(translate.Snapshot(services=[one]), WHERE)
    source = next(s for every in translation.sources.values() for s in every if s.backend == f"shop/{name}")
    found = endpoints.choose(source, slices(), here=HERE).endpoints
    return translation.structure.backends[f"shop/{name}"], [(e.address, e.zone, e.node) for e in found]


@pytest.mark.parametrize(("wanted", "node"), [("PreferClose", ""), ("PreferSameZone", ""), ("PreferSameNode", "n1")])
def test_the_engine_knows_all_endpoints_and_where_they_are(wanted: str, node: str) -> None:
    backend, found = of(service(trafficDistribution=wanted), "web:http/http")
    assert (backend.zone, backend.node) == ("a", node)
    assert found == [("10.0.0.1", "a", "n1"), ("10.0.0.2", "a", "n2"), ("10.0.0.3", "b", "n3")]


def test_the_kernel_follows_the_hints() -> None:
    backend, found = of(service(trafficDistribution="PreferClose"), "web:raw")
    assert (backend.zone, backend.node) == ("", "")
    assert [address for address, _, _ in found] == ["10.0.0.1", "10.0.0.2"]


def test_an_algorithm_of_the_engine_takes_the_port_and_its_preference_there() -> None:
    given = {"fairlead.dev/algorithm": "lc", "fairlead.dev/spill-factor": "3"}
    backend, found = of(service(trafficDistribution="PreferClose", annotations=given), "web:raw")
    assert (backend.algorithm, backend.zone, backend.spill_factor, len(found)) == ("lc", "a", 3.0, 3)


def test_without_the_field_hints_of_others_are_followed() -> None:
    backend, found = of(service(), "web:http/http")
    assert backend.zone == "" and len(found) == 2


def test_a_policy_local_is_stricter_than_a_preference() -> None:
    wanted = service(trafficDistribution="PreferSameZone", internalTrafficPolicy="Local")
    backend, found = of(wanted, "web:http/http/local")
    assert backend.zone == "" and [address for address, _, _ in found] == ["10.0.0.1"]
