"""An application with manifests as ingress-nginx users write them works unchanged: TLS, WebSocket, sticky sessions,
canary, basic auth, rewrites. Spoken to by a client with a cookie jar, as a browser has one, and by a real browser."""

from __future__ import annotations

import base64
import io
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from fairlead.base import x509
from fairlead.testing import ports as free_ports
from tests.system import chromium, local

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
EXAMPLE = local.ROOT / "examples" / "from-ingress-nginx"


@dataclass
class Shop(local.Local):
    """The example, with its own https port and certificate."""

    https_port: int = 0
    authority: str = ""

    def arguments(self) -> list[str]:
        doors = ["--http", f"127.0.0.1:{self.edge_port}", "--https", f"127.0.0.1:{self.https_port}"]
        return ["--name", self.name, "--network", self.network, "--ingress-nginx", *doors]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    chain, key = x509.self_signed(["shop.localhost"], now=datetime.now(UTC))
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "loopback")
    cluster = Shop(made.name, made.root, made.network, made.edge_port, free_ports.free(), chain)
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop-tls"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": chain, "tls.key": key},
    }  # fmt: skip
    certificate = cluster.root / "secret.yaml"
    authority = {**secret, "metadata": {"name": "badges"}, "type": "Opaque", "stringData": {"ca.crt": chain}}
    guarded = [
        ingress("members", {"auth-url": "http://shop.default.svc.cluster.local/check?of=members"}),
        ingress("circle", {"auth-url": "http://$host/check"}),
        ingress("badge", {"auth-tls-secret": "default/badges"}),
    ]
    certificate.write_text(yaml.safe_dump_all([secret, authority, *guarded]))
    try:
        cluster.up(certificate, EXAMPLE)
        yield cluster
    finally:
        local.remove(cluster)


def ingress(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    """An Ingress at NAME.localhost with these annotations of ingress-nginx."""
    backend = {"service": {"name": "shop", "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "name": name, "namespace": "default",
            "annotations": {f"nginx.ingress.kubernetes.io/{key}": value for key, value in annotations.items()},
        },
        "spec": {
            "ingressClassName": "nginx",
            "rules": [
                {
                    "host": f"{name}.localhost",
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                }
            ],
        },
    }  # fmt: skip


class Browser:
    """A client with a cookie jar, which resolves *.localhost to this machine and trusts the shop's certificate."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        context = ssl.create_default_context(cadata=shop.authority)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connector = aiohttp.TCPConnector(resolver=_Here(), ssl=context)
        self.session = aiohttp.ClientSession(connector=connector)

    def url(self, url: str) -> str:
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        port = self._shop.https_port if scheme in ("https", "wss") else self._shop.edge_port
        return f"{scheme}://{host}:{port}{slash}{path}"

    async def get(self, url: str, **more: Any) -> tuple[int, Any, Any]:
        """Status, headers, what the shop tells."""
        async with self.session.get(self.url(url), allow_redirects=False, **more) as answer:
            told = await answer.json() if answer.content_type == "application/json" else await answer.text()
            return answer.status, answer.headers, told


class _Here(aiohttp.abc.AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


@pytest.fixture
async def browser(shop: Shop) -> AsyncIterator[Browser]:
    found = Browser(shop)
    yield found
    await found.session.close()


async def test_http_is_redirected_to_tls_with_the_shops_own_certificate(shop: Shop, browser: Browser) -> None:
    status, headers, _ = await browser.get("http://shop.localhost/cart?x=1")
    assert (status, headers["Location"]) == (308, f"https://shop.localhost:{shop.https_port}/cart?x=1")
    status, headers, told = await browser.get("https://shop.localhost/cart?x=1")
    assert (status, told["path"], told["headers"]["x-forwarded-proto"]) == (200, "/cart?x=1", "https")
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"


async def test_what_guards_is_asked_and_is_never_open(browser: Browser) -> None:
    status, _, told = await browser.get("http://members.localhost/x")
    assert (status, told["path"]) == (200, "/x")
    assert (told["headers"]["x-real-ip"], told["headers"]["x-scheme"]) == ("127.0.0.1", "http")
    assert (await browser.get("http://circle.localhost/"))[0] == 500  # it would ask itself
    assert (await browser.get("http://badge.localhost/"))[0] == 400


async def test_a_session_sticks_to_its_pod(browser: Browser) -> None:
    pods = {(await browser.get("https://shop.localhost/"))[2]["pod"] for _ in range(10)}
    assert len(pods) == 1
    [cookie] = [cookie for cookie in browser.session.cookie_jar if cookie.key == "route"]
    assert (cookie["max-age"], cookie["secure"], cookie["httponly"]) == ("3600", True, True)


async def test_without_a_cookie_every_pod_has_its_turn(shop: Shop) -> None:
    pods = set()
    for _ in range(24):  # a new session's endpoint is drawn
        one = Browser(shop)
        pods.add((await one.get("https://shop.localhost/"))[2]["pod"])
        await one.session.close()
    assert len(pods) == 2


async def test_a_websocket_goes_through(browser: Browser) -> None:
    async with browser.session.ws_connect(browser.url("wss://shop.localhost/ws")) as socket:
        for word in ("one", "two"):
            await socket.send_str(word)
            assert (await socket.receive_str()).endswith(f": {word}")


async def test_the_canary_is_chosen_by_header_and_cookie(shop: Shop) -> None:
    for headers, release in (
        ({"X-Next": "always"}, "next"),
        ({"X-Next": "never"}, "main"),
        ({"Cookie": "next=always"}, "next"),
        ({}, "main"),
    ):
        one = Browser(shop)
        assert (await one.get("https://shop.localhost/", headers=headers))[2]["release"] == release, headers
        await one.session.close()


async def test_a_rewrite_takes_the_prefix_off_without_regard_to_case(browser: Browser) -> None:
    for path, wanted in (("/api/v1/items?x=1", "/v1/items?x=1"), ("/API", "/"), ("/apiary", "/apiary")):
        _, _, told = await browser.get(f"https://shop.localhost{path}")
        assert told["path"] == wanted
    _, headers, told = await browser.get("https://shop.localhost/api/", headers={"Origin": "https://a.example.org"})
    assert told["headers"]["x-forwarded-prefix"] == "/api"
    assert headers["Access-Control-Allow-Origin"] == "https://a.example.org"


async def test_a_password_opens_the_admin_pages(browser: Browser) -> None:
    status, headers, _ = await browser.get("http://admin.localhost/")
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="Staff only"')
    for word, wanted in (("wrong", 401), ("secret", 200)):
        value = base64.b64encode(f"boss:{word}".encode()).decode()
        found, _, _ = await browser.get("http://admin.localhost/", headers={"Authorization": f"Basic {value}"})
        assert found == wanted


async def test_bodies_over_the_limit_and_moved_hosts(browser: Browser) -> None:
    async with browser.session.post(
        browser.url("https://shop.localhost/"), data=io.BytesIO(b"x" * (8 * 1024**2 + 1))
    ) as answer:
        assert answer.status == 413
    status, headers, _ = await browser.get("http://old.localhost/a?b=c")
    assert (status, headers["Location"]) == (301, "https://shop.localhost/a?b=c")


async def test_a_broken_ingress_is_closed_and_told_and_nobody_else_notices(shop: Shop, browser: Browser) -> None:
    manifest = yaml.safe_load_all((EXAMPLE / "ingress.yaml").read_text())
    broken = next(one for one in manifest if one["metadata"]["name"] == "admin")
    broken["metadata"]["name"] = "broken"
    broken["metadata"]["annotations"]["nginx.ingress.kubernetes.io/auth-secret"] = "nobody"
    broken["spec"]["rules"][0]["host"] = "broken.localhost"
    shop.up("-", stdin=yaml.safe_dump(broken))
    status, _, text = await browser.get("http://broken.localhost/")
    assert (status, "closed" in text) == (503, True)
    assert (await browser.get("https://shop.localhost/"))[0] == 200
    shop.kubectl("delete", "ingress", "broken")


async def test_a_route_that_the_engine_refuses_is_a_closed_door_that_explain_knows(
    shop: Shop, browser: Browser
) -> None:
    big = ingress("big", {"use-regex": "true"})
    backend = big["spec"]["rules"][0]["http"]["paths"][0]["backend"]
    path = {"path": "/list/((a{100}){100}){100}", "pathType": "ImplementationSpecific", "backend": backend}
    big["spec"]["rules"][0]["http"]["paths"].append(path)
    shop.up("-", stdin=yaml.safe_dump(big))
    status, _, text = await browser.get("http://big.localhost/list/x")
    assert (status, "closed" in text) == (503, True)
    assert (await browser.get("http://big.localhost/other"))[0] == 200
    said = shop.fairlead("explain", "--name", shop.name, "http://big.localhost/list/x").stdout
    assert said.startswith("answers 503, a closed door by Ingress/default/big spec.rules[0].http.paths[1]"), said
    assert "because Ingress/default/big spec.rules[0].http.paths[1]: the engine refused it: match.path.value" in said
    said = shop.fairlead("explain", "--name", shop.name, "https://shop.localhost/cart").stdout
    assert said.startswith("forwarded by Ingress/default/shop"), said
    shop.kubectl("delete", "ingress", "big")


TELLS = "fetch('/', {cache: 'no-store'}).then(answer => answer.json())"
ECHOES = """new Promise((done, failed) => {
    const socket = new WebSocket(`wss://${location.host}/ws`);
    socket.onopen = () => socket.send('hello');
    socket.onmessage = message => { done(message.data); socket.close(); };
    socket.onerror = () => failed(new Error('the WebSocket was not opened'));
})"""


@pytest.mark.skipif(not chromium.BINARY, reason="no chromium here; scripts/system-packages test installs it")
async def test_a_real_browser_gets_tls_cookies_websocket_canary_and_a_password(shop: Shop) -> None:
    trusted = "--ignore-certificate-errors"  # the certificate is self-signed, as in the manifests
    async with chromium.page(arguments=(trusted,)) as page:
        await page.open(f"http://shop.localhost:{shop.edge_port}/cart")
        assert await page.run("location.href") == f"https://shop.localhost:{shop.https_port}/cart"
        first = (await page.run(TELLS))["pod"]
        assert {(await page.run(TELLS))["pod"] for _ in range(6)} == {first}
        cookie = (await page.cookies())["route"]
        assert (cookie["secure"], cookie["httpOnly"], cookie["session"]) == (True, True, False)
        assert await page.run("document.cookie") == ""
        assert await page.run(ECHOES) == f"{first}: hello"
        await page.run("document.cookie = 'next=always; path=/'")
        assert (await page.run(TELLS))["release"] == "next"
        await page.run("document.cookie = 'next=never; path=/'")
        assert (await page.run(TELLS))["release"] == "main"
        await page.open(f"http://boss:secret@admin.localhost:{shop.edge_port}/")
        assert '"release"' in await page.run("document.body.innerText")
