"""`fairlead run`: a command becomes a balanced application; a changed file restarts it without a failed request."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

from tests.system import load, local

pytestmark = pytest.mark.system

APP = """
import http.server, os, pathlib
TEXT = pathlib.Path("text").read_text().strip()
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = TEXT.encode()
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((os.environ.get("HOST", ""), int(os.environ.get("PORT", "8000"))), App).serve_forever()
"""


def test_the_printed_manifests_are_plain_kubernetes(tmp_path: Path) -> None:
    cluster = local.make(tmp_path, "loopback")
    said = cluster.fairlead(
        "run", "--dry-run", "--replicas", "2", "--max-replicas", "4", "--", "python3", "app.py"
    ).stdout
    found = {one["kind"]: one for one in yaml.safe_load_all(said)}
    assert found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["command"] == ["python3", "app.py"]
    assert found["Ingress"]["spec"]["rules"][0]["host"] == "python3.localhost"
    assert found["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 4


async def test_a_changed_file_restarts_by_rolling_without_a_failed_request(empty: local.Local, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "text").write_text("first")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "fairlead.cli.main", "run", *empty.arguments(), "--app", "web", "--replicas", "2",
        "--reload", "--", "python3", "app.py",
        env=empty.environment(), cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        await _line(process.stdout, "watching")
        async with load.Load("127.0.0.1", empty.edge_port, rate=100, header="web.localhost") as running:
            await asyncio.wait_for(running.sees("first"), 20)
            (tmp_path / "text").write_text("second")
            await asyncio.wait_for(running.sees("second"), 40)
            await running.reaches(300)
    finally:
        process.send_signal(signal.SIGINT)
        rest = await asyncio.wait_for(process.stdout.read(), 60)
    assert await process.wait() == 0, rest.decode()
    assert running.outcome.all_ok(), running.outcome.failures[:5]


async def _line(stream: asyncio.StreamReader, word: str) -> None:
    seen = b""
    while word.encode() not in seen:
        seen = await asyncio.wait_for(stream.readline(), 60)
        assert seen, f"ended before {word!r}; {os.getpid()}"
