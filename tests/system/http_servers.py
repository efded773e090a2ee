"""Real HTTP/1.1 servers behind the engine: three implementations that write down what they have understood.

Each writes a line of JSON for every request that it has read whole (method, target, body, Upgrade, X-Forwarded-For),
and one with `error` for what it could not read. They are as lenient as they can be made, so that they would fall for
what a strict one refuses.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NODE = """
const http = require('http'), fs = require('fs');
const tell = line => fs.writeSync(1, JSON.stringify(line) + '\\n');
const options = {insecureHTTPParser: true, keepAliveTimeout: 600000};
const server = http.createServer(options, (request, response) => {
  let body = '';
  request.setEncoding('latin1');
  request.on('data', piece => body += piece);
  request.on('end', () => {
    const {upgrade = '', 'x-forwarded-for': client = ''} = request.headers;
    tell({method: request.method, target: request.url, body, upgrade, client});
    response.setHeader('Content-Length', 4);
    response.end('seen');
  });
});
server.on('clientError', (error, socket) => {
  // An end in the middle of a request is no error of the request.
  if (!['HPE_INVALID_EOF_STATE', 'ECONNRESET'].includes(error.code)) tell({error: error.code});
  socket.destroy();
});
server.listen(0, '127.0.0.1', () => tell({port: server.address().port}));
"""

# The inner server answers; the outer one has read the whole request by then and logs it.
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format seen escape=json '{{"method":"$request_method","target":"$request_uri","body":"$request_body",'
    '"upgrade":"$http_upgrade","client":"$http_x_forwarded_for","status":$status}}';
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;
  keepalive_timeout 600; keepalive_requests 100000;
  client_body_buffer_size 1m; client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port}; access_log {folder}/log seen;
    location / {{ proxy_pass http://unix:{folder}/inner; proxy_http_version 1.1; }}
  }}
  server {{ listen unix:{folder}/inner; access_log off; location / {{ return 200 seen; }} }}
}}
"""


class Server:
    """A running server: `port`, and what it has written so far."""

    def __init__(self, name: str, argv: list[str], log: Path, port: int = 0) -> None:
        self.name, self.log, self.port = name, log, port
        with log.open("wb") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} does not start")
            time.sleep(0.02)

    def ready(self) -> bool:
        if not self.port:
            lines = self.lines()
            self.port = lines[0]["port"] if lines else 0
            return self.port > 0
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def start_nginx(folder: Path) -> Server:
    home = folder / "nginx"
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (home / "conf").write_text(NGINX.format(folder=home, port=port))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    return Server("nginx", [binary, "-c", str(home / "conf"), "-e", str(home / "error.log")], home / "log", port)


def start_node(folder: Path) -> Server:
    return Server("node", [shutil.which("node") or "node", "-e", NODE], folder / "node.log")


def start_h11(folder: Path) -> Server:
    script = str(Path(__file__).with_name("h11_server.py"))
    return Server("h11", [sys.executable, script], folder / "h11.log")


def missing() -> str:
    """What is not installed, or nothing."""
    found = {"nginx": shutil.which("nginx") or Path("/usr/sbin/nginx").exists(), "node": shutil.which("node")}
    return ", ".join(name for name, there in found.items() if not there)


@contextlib.contextmanager
def all_started(folder: Path) -> Iterator[list[Server]]:
    """One of each."""
    with contextlib.ExitStack() as stack:
        made = []
        for start in (start_nginx, start_node, start_h11):
            made.append(start(folder))
            stack.callback(made[-1].close)
        yield made
