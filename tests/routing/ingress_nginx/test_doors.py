"""Whose claims about the client the edge believes, by the controller's ConfigMap."""

from typing import Any

import pytest

from fairlead.routing import table


@pytest.mark.parametrize(
    ("config", "hops", "proxies", "header"),
    [
        ({}, 0, (), ""),
        ({"proxy_real_ip_cidr": "10.0.0.0/8"}, 0, (), ""),
        ({"use_forwarded_headers": "true"}, 1, (), ""),
        ({"use_forwarded_headers": "true", "proxy_real_ip_cidr": "0.0.0.0/0"}, 1, (), ""),
        ({"use_forwarded_headers": "true", "proxy_real_ip_cidr": "10.0.0.0/8,fd00::/8"}, 0,
         ("10.0.0.0/8", "fd00::/8"), ""),
        ({"enable_real_ip": "true", "forwarded_for_header": "CF-Connecting-IP"}, 1, (), "CF-Connecting-IP"),
        ({"use_forwarded_headers": "true", "forwarded_for_header": "X-Forwarded-For"}, 1, (), ""),
    ],
)  # fmt: skip
def test_trust(world: Any, config: dict[str, str], hops: int, proxies: tuple[str, ...], header: str) -> None:
    world.config(**config)
    world.ingress("a", "a.example", ("/", "Prefix", "web"))
    for listener in ("edge-http", "edge-https"):
        http = world.translate().structure.listeners[listener].http
        assert (http.trusted_hops, http.trusted_proxies, http.client_header) == (hops, proxies, header)
    assert world.problems() == []


def test_backends_are_told_what_ingress_nginx_tells_them(world: Any) -> None:
    assert world.translate().structure.listeners["edge-http"].http == table.HttpSettings(
        tell=("real-ip", "port", "scheme", "request-id")
    )
    world.config(generate_request_id="false")
    assert "request-id" not in world.translate().structure.listeners["edge-http"].http.tell
