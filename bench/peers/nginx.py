"""nginx: `nginx.conf`, its way of changing being a reload (SIGHUP)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import string
from pathlib import Path

from bench import candidates, lab
from bench.peers import program

_TEMPLATE = Path(__file__).with_name("nginx.conf")
_BALANCE = {"round-robin": "", "least": "least_conn;", "two": "random two least_conn;"}

_HTTP = """
http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_max_temp_file_size 0;
    proxy_buffers 16 32k;
    proxy_buffer_size 32k;
    proxy_busy_buffers_size 64k;
    proxy_http_version 1.1;
    proxy_read_timeout 120s;
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Host $host;
{upstreams}
{servers}
}}
"""


def render(job: candidates.Job, port: int, folder: Path) -> str:
    """The configuration file."""
    upstreams = "\n".join(_upstream(job, index) for index in range(job.services))
    if job.mode == "tcp":
        section = f"stream {{\n{upstreams}\n    server {{\n        listen 127.0.0.1:{port} backlog=4096;\n"
        section += "        proxy_pass s0;\n        proxy_timeout 120s;\n        tcp_nodelay on;\n    }\n}\n"
        module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        load = f"load_module {module};\n" if module.exists() else ""
    else:
        names = ["bench.test", *(f"route-{index}.test" for index in range(job.routes - 1))]
        servers = "\n".join(_server(job, port, name, default=at == 0) for at, name in enumerate(names))
        section, load = _HTTP.format(folder=folder, upstreams=upstreams, servers=servers), ""
    return load + string.Template(_TEMPLATE.read_text()).substitute(folder=folder, section=section)


def _upstream(job: candidates.Job, index: int) -> str:
    servers = "".join(f" server {address};" for address in job.backends)
    kept = " keepalive 256; keepalive_requests 100000000;" if job.mode == "http" else ""
    return f"    upstream s{index} {{ {_BALANCE[job.algorithm]}{servers}{kept} }}"


def _server(job: candidates.Job, port: int, name: str, *, default: bool) -> str:
    words = " ssl" if job.certificate else ""
    words += " http2" if job.h2 else ""
    words += " default_server backlog=4096" if default else ""
    tls = f"ssl_certificate {job.certificate}; ssl_certificate_key {job.certificate};" if job.certificate else ""
    tls += " ssl_session_cache shared:tls:10m;" if job.certificate and default else ""
    upstream = "grpc_pass grpc://s0" if job.h2_backend else "proxy_pass http://s0"
    return (
        f"    server {{ listen 127.0.0.1:{port}{words}; server_name {name}; {tls} http2_max_concurrent_streams 1000; "
        f"location / {{ {upstream}; }} }}"
    )


class Nginx:
    """See `render`."""

    name = "nginx"

    async def start(self, lab_: lab.Lab, job: candidates.Job) -> candidates.Running:
        """Starts the master, which starts the worker."""
        path = program.find("nginx")
        folder, port = lab_.path(self.name), lab.free_port()
        folder.chmod(0o755)
        file = folder / "nginx.conf"
        file.write_text(render(job, port, folder))
        process = lab_.spawn(self.name, [path, "-c", str(file)], core=lab_.cores.candidate)
        await lab.listening(process, port)
        return _Running(process, port, file)


class _Running(program.Program):
    def __init__(self, process: lab.Process, port: int, file: Path) -> None:
        super().__init__(process, port)
        self._file, self._port = file, port

    async def change(self, job: candidates.Job) -> None:
        """A reload: new workers, the old ones finish their connections."""
        self._file.write_text(render(job, self._port, self._file.parent))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGHUP)
        await asyncio.sleep(0)
