"""An Ingress whose Service is an ExternalName: the name is resolved as the host resolves it, and never leads back here.

The outside world is a DNS server and an HTTP server in namespaces of their own, with a cluster beside them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.system import local

OUTSIDE = "192.0.2.1"
SCRIPT = Path(__file__).parent / "apps" / "outside.py"
pytestmark = [
    pytest.mark.system, pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="makes namespaces: needs root"),
]  # fmt: skip


@dataclass
class Inside(local.Local):
    """A cluster within the namespaces of a process."""

    holder: int = 0

    def _within(self, command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        words = ["nsenter", "-t", str(self.holder), "-n", "-m", "--", *command]
        return subprocess.run(
            words, env=self.environment(), capture_output=True, text=True, timeout=110, check=False, **more
        )

    def fairlead(
        self, *arguments: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = self._within([sys.executable, "-m", "fairlead.cli.main", *arguments], input=stdin)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def get(self, host: str, path: str = "/") -> tuple[str, str]:
        """Status and body."""
        words = ["curl", "-s", "--max-time", "20", "-o", "-", "-w", "\n%{http_code}", "-H", f"Host: {host}"]
        body, _, status = self._within([*words, f"http://127.0.0.1:{self.edge_port}{path}"]).stdout.rpartition("\n")
        return status, body


@pytest.fixture(scope="module")
def cluster() -> Iterator[Inside]:
    root = Path(tempfile.mkdtemp(prefix="fl-state-"))
    (root / "resolv.conf").write_text(f"nameserver {OUTSIDE}\n")
    bind = f"mount --bind {root}/resolv.conf /etc/resolv.conf && exec {sys.executable} {SCRIPT} {OUTSIDE}"
    names = f"shop.example={OUTSIDE} inner.example=127.0.0.1"
    holder = subprocess.Popen(
        ["unshare", "-n", "-m", "sh", "-c", f"{bind} {names}"], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    made = local.make(root, "loopback")
    found = Inside(made.name, made.root, made.network, made.edge_port, holder=holder.pid)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        found.fairlead("up", "-d", "--ingress-nginx", *found.arguments(), "-", stdin=manifests())
        yield found
    finally:
        local.remove(found)
        holder.send_signal(signal.SIGKILL)
        holder.communicate()


def manifests() -> str:
    """Services of type ExternalName and an Ingress for each."""
    objects = []
    for name, target, words in (
        ("shop", "shop.example", {}),
        ("named", "shop.example", {"nginx.ingress.kubernetes.io/upstream-vhost": "shop.example"}),
        ("inner", "inner.example", {}),
        ("missing", "nobody.example", {}),
        ("self", "localhost", {}),
    ):
        meta = {"name": name, "namespace": "default"}
        objects.append(
            {"apiVersion": "v1", "kind": "Service", "metadata": meta,
             "spec": {"type": "ExternalName", "externalName": target, "ports": [{"name": "web", "port": 8080}]}}
        )  # fmt: skip
        backend = {"service": {"name": name, "port": {"name": "web"}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        rules = [{"host": f"{name}.localhost", "http": {"paths": [path]}}]
        objects.append(
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {**meta, "annotations": words},
             "spec": {"ingressClassName": "nginx" if words else "fairlead", "rules": rules}}
        )  # fmt: skip
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def test_the_name_is_resolved_and_asked(cluster: Inside) -> None:
    assert cluster.get("shop.localhost", "/cart?x=1") == ("200", "shop.localhost /cart?x=1")


def test_the_outside_gets_its_own_name_where_the_ingress_says_so(cluster: Inside) -> None:
    assert cluster.get("named.localhost") == ("200", "shop.example /")


def test_a_name_that_leads_to_this_machine_is_not_followed(cluster: Inside) -> None:
    assert cluster.get("inner.localhost")[0] == "503"
    assert cluster.get("self.localhost")[0] == "503"


def test_a_name_that_nobody_has_is_a_503(cluster: Inside) -> None:
    assert cluster.get("missing.localhost")[0] == "503"
