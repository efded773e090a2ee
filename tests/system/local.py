"""A cluster for proofs: its own name, state folder and edge port; driven by the command line, as a user would."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.api.kinds import Kind
from fairlead.client import https, kubeconfig, protocol
from fairlead.cluster import rootless, state
from fairlead.testing import ports

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "my-app"


@dataclass
class Local:
    """One cluster on this machine."""

    name: str
    root: Path
    network: str
    edge_port: int
    https_port: int = field(default_factory=ports.free)

    @property
    def state(self) -> state.StateFolder:
        return state.StateFolder.of(self.name, root=self.root)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "FAIRLEAD_STATE": str(self.root), "KUBECONFIG": str(self.state.kubeconfig)}

    def arguments(self) -> list[str]:
        return [
            "--name",
            self.name,
            "--network",
            self.network,
            "--http",
            f"127.0.0.1:{self.edge_port}",
            "--https",
            f"127.0.0.1:{self.https_port}",
        ]

    def fairlead(
        self, *arguments: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a fairlead command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "fairlead.cli.main", *arguments],
            env=self.environment(), capture_output=True, text=True, input=stdin, timeout=110, check=False,
        )  # fmt: skip
        if check and done.returncode:
            log = self.state.log / "fairlead.log"
            tail = log.read_text()[-4000:] if log.exists() else ""
            raise AssertionError(
                f"fairlead {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}\n{tail}"
            )
        return done

    @property
    def within(self) -> str:
        """The network namespace where the cluster's own addresses are; "" for the machine's own."""
        if self.network != "rootless":
            return ""
        return f"/proc/{rootless.holders(self.state.path)[0]}/ns/net"

    def up(self, *paths: str | Path, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.fairlead("up", "-d", *self.arguments(), *map(str, paths), check=check, stdin=stdin)

    def down(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.fairlead("down", "--name", self.name, *flags)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs the real kubectl against this cluster; returns its standard output."""
        done = subprocess.run(
            ["kubectl", *arguments], env=self.environment(), capture_output=True, text=True, input=stdin,
            timeout=110, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[protocol.Client]:
        found, send = https.client(kubeconfig.load(self.state.kubeconfig))
        try:
            yield found
        finally:
            await send.close()


def make(root: Path, network: str) -> Local:
    """A cluster that does not run yet."""
    return Local(f"t{secrets.token_hex(3)}", root, network, ports.free())


def remove(cluster: Local) -> None:
    """Ends the cluster, whatever state a failed test left it in."""
    cluster.fairlead("down", "--name", cluster.name, "--force", "--purge", check=False)
    shutil.rmtree(cluster.root, ignore_errors=True)


async def until(
    client: protocol.Client,
    kind: Kind,
    wanted: Callable[[list[dict[str, Any]]], bool],
    *,
    namespace: str = "default",
    labels: str = "",
) -> list[dict[str, Any]]:
    """Watches a kind until the whole set of objects is as wanted; returns it. The caller's timeout bounds it."""
    while True:
        page = await client.list(kind, namespace=namespace, label_selector=labels)
        found = {item["metadata"]["name"]: item for item in page.items}
        if wanted(list(found.values())):
            return list(found.values())
        changes = client.watch(kind, namespace=namespace, label_selector=labels, resource_version=page.resource_version)
        async with contextlib.aclosing(changes):
            async for event in changes:
                if event.type == "BOOKMARK":
                    continue
                if event.type == "DELETED":
                    found.pop(event.object["metadata"]["name"], None)
                else:
                    found[event.object["metadata"]["name"]] = event.object
                if wanted(list(found.values())):
                    return list(found.values())


def ready(pods: list[dict[str, Any]]) -> list[str]:
    """Names of the pods that are ready and stay."""
    return sorted(
        pod["metadata"]["name"]
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))
    )
