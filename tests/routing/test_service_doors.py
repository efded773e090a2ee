"""At which of the machine's loopback addresses node ports and load balancers' ports are listened on."""

from __future__ import annotations

from typing import Any

from fairlead.routing import carrier, settings, translate

BOTH = settings.Settings(network="kernel", lowest_port=1, localhost=("127.0.0.1", "::1"))
Object = dict[str, Any]


def service(name: str, *addresses: str, node_port: int = 30080, since: str = "2026-01-01T00:00:00Z") -> Object:
    families = ["IPv6" if ":" in one else "IPv4" for one in addresses]
    spec = {
        "type": "LoadBalancer", "clusterIP": addresses[0], "clusterIPs": list(addresses), "ipFamilies": families,
        "ports": [{"port": 80, "nodePort": node_port}],
    }  # fmt: skip
    return {"metadata": {"namespace": "shop", "name": name, "creationTimestamp": since}, "spec": spec}


def doors(*services: Object, where: settings.Settings = BOTH) -> dict[str, str]:
    """Socket -> the Backend that it leads to."""
    made = translate.translate(translate.Snapshot(services=services), where)
    assert made.problems == ()
    return {one.sockets[0]: one.backend for one in made.structure.listeners.values() if one.backend}


def test_a_service_of_one_family_is_at_both_loopback_addresses() -> None:
    assert doors(service("web", "10.96.0.9")) == {
        f"tcp:{host}:{port}": "shop/web:80" for host in ("127.0.0.1", "[::1]") for port in (30080, 80)
    }
    assert doors(service("six", "fd00:10:96::9"))["tcp:127.0.0.1:30080"] == "shop/six:80"


def test_a_machine_without_ipv6_has_no_such_door() -> None:
    assert not any("[::1]" in one for one in doors(service("web", "10.96.0.9"), where=settings.Settings(lowest_port=1)))


def test_of_a_service_of_both_each_address_leads_to_its_own_family() -> None:
    found = doors(service("web", "10.96.0.9", "fd00:10:96::9"))
    assert found["tcp:127.0.0.1:80"] == "shop/web:80" and found["tcp:[::1]:80"] == "shop/web:80/IPv6"


def test_who_wants_the_port_for_its_own_family_goes_before_who_borrows_it_however_old() -> None:
    old = service("four", "10.96.0.9")
    young = service("six", "fd00:10:96::9", node_port=30081, since="2026-02-02T00:00:00Z")
    found = doors(old, young)
    assert found["tcp:127.0.0.1:80"] == "shop/four:80" and found["tcp:[::1]:80"] == "shop/six:80"
    translator = translate.Translator(BOTH)
    for services, holder in (([old], "shop/four:80"), ([old, young], "shop/six:80"), ([old], "shop/four:80")):
        made = translator.translate(translate.Snapshot(services=services)).structure
        assert [one.backend for one in made.listeners.values() if "tcp:[::1]:80" in one.sockets] == [holder]


def test_a_services_own_address_and_dns_are_inner_doors_and_all_others_lead_outside() -> None:
    where = settings.Settings(localhost=("127.0.0.1", "::1"), dns=("udp:127.244.0.1:53",))
    found = service("web", "127.96.0.9", "fd00:10:96::9")
    found["spec"] |= {"externalTrafficPolicy": "Local", "healthCheckNodePort": 30090}
    listeners = translate.translate(translate.Snapshot(services=[found]), where).structure.listeners
    inner = {name for name, one in listeners.items() if carrier.is_inner(one)}
    assert inner == {"dns", "service/shop/web/80", "service/shop/web/80/IPv6"}
    assert {"edge-http", "service/shop/web/80/node", "service/shop/web/health"} < listeners.keys() - inner


def test_what_the_kernel_leads_to_the_engine_comes_in_by_an_inner_door() -> None:
    found = service("web", "10.96.0.9")
    found["spec"]["ports"].append({"name": "h", "port": 81, "appProtocol": "http"})
    made = translate.translate(
        translate.Snapshot(services=[found]), settings.Settings(network="kernel", gateway="10.244.0.1")
    )
    assert carrier.is_inner(made.structure.listeners["transparent-http"])
