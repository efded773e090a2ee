"""Envoy, one worker thread. Its endpoints come from a watched file (EDS), which is its own way of changing them
without a control plane; circuit breakers are out of the way, and no header is made that the others do not make."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench import candidates, lab
from bench.peers import program

_POLICY = {"round-robin": "ROUND_ROBIN", "least": "LEAST_REQUEST", "two": "LEAST_REQUEST"}
_V3 = "type.googleapis.com/envoy.extensions"
_MANY = 1_000_000


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def endpoints(job: candidates.Job) -> dict[str, Any]:
    """The watched file: the endpoints of every Backend."""
    kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    return {"resources": [{"@type": kind, **_assignment(job, index)} for index in range(job.services)]}


def _assignment(job: candidates.Job, index: int) -> dict[str, Any]:
    addresses = [{"endpoint": {"address": _address(address)}} for address in job.backends]
    return {"cluster_name": f"s{index}", "endpoints": [{"lb_endpoints": addresses}]}


def _cluster(job: candidates.Job, index: int, eds: Path) -> dict[str, Any]:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _MANY)
    protocol: dict[str, Any] = {"http2_protocol_options": {}} if job.h2_backend else {"http_protocol_options": {}}
    options = {"@type": f"{_V3}.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": protocol}
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    source = {"resource_api_version": "V3", "path_config_source": {"path": str(eds)}}
    found: dict[str, Any] = {"type": "EDS", "eds_cluster_config": {"eds_config": source}}
    if job.services > 1:  # each watched file takes an inotify instance, of which a user has 128
        found = {"type": "STATIC", "load_assignment": _assignment(job, index)}
    return {
        "name": f"s{index}",
        **found,
        "connect_timeout": "5s",
        "lb_policy": _POLICY[job.algorithm],
        "circuit_breakers": {"thresholds": [limits]},
        **({"typed_extension_protocol_options": {name: options}} if job.mode == "http" else {}),
    }


def _http(job: candidates.Job) -> dict[str, Any]:
    hosts = [f"route-{index}.test" for index in range(job.routes - 1)]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "s0", "timeout": "0s"}}
    names = ["*", *hosts]
    virtual = [{"name": f"v{at}", "domains": [name], "routes": [route]} for at, name in enumerate(names)]
    if job.routes > 1:
        virtual.append({"name": "bench", "domains": ["bench.test"], "routes": [route]})
    router = {"@type": f"{_V3}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    return {
        "@type": f"{_V3}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "generate_request_id": False,
        "stream_idle_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"name": "routes", "virtual_hosts": virtual},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }


def _tcp() -> dict[str, Any]:
    return {"@type": f"{_V3}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "edge", "cluster": "s0"}


def _tls(job: candidates.Job) -> dict[str, Any]:
    pem = {"certificate_chain": {"filename": job.certificate}, "private_key": {"filename": job.certificate}}
    protocols = ["h2", "http/1.1"] if job.h2 else ["http/1.1"]
    context = {"tls_certificates": [pem], "alpn_protocols": protocols}
    kind = f"{_V3}.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": context}}


def render(job: candidates.Job, port: int, eds: Path) -> dict[str, Any]:
    """The bootstrap configuration."""
    manager = _http(job) if job.mode == "http" else _tcp()
    name = "envoy.filters.network.http_connection_manager" if job.mode == "http" else "envoy.filters.network.tcp_proxy"
    chain: dict[str, Any] = {"filters": [{"name": name, "typed_config": manager}]}
    if job.certificate:
        chain["transport_socket"] = _tls(job)
    listener = {
        "name": "edge",
        "address": _address(f"127.0.0.1:{port}"),
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }
    clusters = [_cluster(job, index, eds) for index in range(job.services)]
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


class Envoy:
    """See `render`."""

    name = "envoy"

    async def start(self, lab_: lab.Lab, job: candidates.Job) -> candidates.Running:
        """Starts one process with one worker thread."""
        path = program.find("envoy", program.INSTALLED / "envoy" / "_bin" / "envoy")
        folder, port = lab_.path(self.name), lab.free_port()
        eds, file = folder / "endpoints.json", folder / "envoy.json"
        eds.write_text(json.dumps(endpoints(job)))
        file.write_text(json.dumps(render(job, port, eds)))
        argv = [path, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        process = lab_.spawn(self.name, argv, core=lab_.cores.candidate)
        await lab.listening(process, port, seconds=30)
        return _Running(process, port, eds)


class _Running(program.Program):
    def __init__(self, process: lab.Process, port: int, eds: Path) -> None:
        super().__init__(process, port)
        self._eds = eds

    async def change(self, job: candidates.Job) -> None:
        """A new file moved into place, which Envoy watches."""
        new = self._eds.with_suffix(".new")
        new.write_text(json.dumps(endpoints(job)))
        os.replace(new, self._eds)  # noqa: PTH105 the watch is on the rename
