"""The client check suite against the real API server, in process and over HTTPS."""

from __future__ import annotations

from pathlib import Path

from fairlead.apiserver import server
from fairlead.client import https, kubeconfig, rest
from fairlead.testing import check_client


async def test_in_process(client: rest.RestClient) -> None:
    await check_client.check(client, "default")


async def test_over_https(api: server.ApiServer, tmp_path: Path) -> None:
    transport = https.HttpsExchange(kubeconfig.load(tmp_path / "kubeconfig"))
    try:
        await check_client.check(rest.RestClient(transport), "default")
    finally:
        await transport.close()
