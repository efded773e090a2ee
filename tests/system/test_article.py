"""The article's own two manifests, with no probe and no ports in the Deployment: balanced all the same."""

from __future__ import annotations

from collections import Counter

import pytest

from fairlead.api import kinds
from fairlead.cli import addresses
from tests.system import load, local

pytestmark = pytest.mark.system
ARTICLE = local.ROOT / "examples" / "article"


async def test_the_articles_manifests_are_balanced_round_robin(empty: local.Local) -> None:
    empty.up(ARTICLE)
    while empty.fairlead("logs", "--name", empty.name, "deployment/my-app").stdout.count("listening on") < 3:
        pass  # without a probe a pod is ready when it runs, as Kubernetes says, not when it listens
    async with empty.client() as client:
        service = await client.get(kinds.SERVICE, "my-app-service", namespace="default")
        pods = local.ready((await client.list(kinds.POD, namespace="default")).items)
    port = addresses.carried_port(empty.state.read(), 80)
    seen: Counter[str] = Counter()
    for _ in range(30):
        connection = load.Connection(service["spec"]["clusterIP"], port, network=empty.within)
        status, body = await connection.get("/")
        connection.close()
        assert status == 200
        seen[body.strip()] += 1
    assert seen == Counter(dict.fromkeys(pods, 10))


def test_manifests_come_from_standard_input_too(empty: local.Local) -> None:
    text = "---\n".join((ARTICLE / name).read_text() for name in ("deployment.yaml", "service.yaml"))
    said = empty.up("--image", f"my-app:*=python3 {local.EXAMPLE}/server.py", "-", stdin=text).stdout
    assert "3/3 available" in said
