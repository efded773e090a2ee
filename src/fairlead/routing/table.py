"""The routing table: five words (Listener, Route, Backend, Endpoint, Name) that every plane understands.

These structs are the JSON objects of docs/protocol.md, field for field; defaults are left out on the wire. A table is
immutable; `Structure` is the slow part, `BackendEndpoints` the fast one (DESIGN: "the routing table moves at two speeds").
"""

from __future__ import annotations

from typing import Literal

import msgspec


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    pass


class HttpSettings(_Struct):
    """Limits and habits of an http or https Listener."""

    request_header_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 75.0
    max_header_bytes: int = 65536
    max_headers: int = 100
    max_body_bytes: int = 0  # 0: no limit
    trusted_hops: int = 0
    h2c: bool = False


class Listener(_Struct):
    id: str
    protocol: Literal["http", "https", "tcp", "tls", "udp", "dns"]
    sockets: tuple[str, ...] = ()
    backend: str = ""
    certificates: tuple[str, ...] = ()
    client_ca: str = ""
    transparent: bool = False
    proxy_protocol_in: bool = False
    http: HttpSettings | None = None


class PathMatch(_Struct):
    type: Literal["exact", "prefix", "regex"] = "prefix"
    value: str = "/"
    ignore_case: bool = False


class ValueMatch(_Struct):
    name: str
    type: Literal["exact", "regex", "present"] = "exact"
    value: str = ""


class Match(_Struct):
    path: PathMatch | None = None
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()


class WeightedBackend(_Struct):
    backend: str
    weight: int = 1


class Redirect(_Struct):
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""  # replaces the whole path
    path_prefix: str = ""  # replaces the matched prefix
    status: int = 302


class Respond(_Struct):
    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


class Rewrite(_Struct):
    host: str = ""
    path: str = ""
    path_prefix: str = ""
    regex: str = ""
    substitution: str = ""


class HeaderChanges(_Struct):
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


class Mirror(_Struct):
    backend: str
    percent: float = 100.0


class Cors(_Struct):
    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age_seconds: int = 5


class Retry(_Struct):
    attempts: int = 2
    on: tuple[str, ...] = ("connect", "reset")
    buffer_bytes: int = 65536
    budget_percent: float = 20.0


class Timeouts(_Struct):
    connect_seconds: float = 5.0
    request_seconds: float = 0.0  # 0: none
    idle_seconds: float = 0.0
    backend_request_seconds: float = 0.0


class RateLimit(_Struct):
    requests_per_second: float
    burst: int = 1
    key: str = "client"  # client | header:X


class Info(_Struct):
    """Where a thing of the table comes from; for `explain`, statistics and error messages."""

    object: str = ""  # Kind/namespace/name
    rule: str = ""  # field path within the object


class Route(_Struct):
    id: str
    listeners: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    match: Match = Match()
    order: int = 0
    backends: tuple[WeightedBackend, ...] = ()
    redirect: Redirect | None = None
    respond: Respond | None = None
    rewrite: Rewrite | None = None
    request_headers: HeaderChanges | None = None
    response_headers: HeaderChanges | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    retry: Retry | None = None
    timeouts: Timeouts | None = None
    limit: RateLimit | None = None
    info: Info = Info()


class Affinity(_Struct):
    kind: Literal["client", "cookie"] = "client"
    timeout_seconds: float = 10800.0
    cookie: str = ""


class ActiveHealth(_Struct):
    kind: Literal["http", "tcp", "grpc"] = "http"
    path: str = "/"
    host: str = ""
    port: int = 0
    interval_seconds: float = 10.0
    timeout_seconds: float = 1.0
    healthy_threshold: int = 2
    unhealthy_threshold: int = 3
    expected: tuple[int, int] = (200, 399)


class Outlier(_Struct):
    consecutive_errors: int = 5
    connect_failures: int = 3
    success_rate_percent: float = 0.0
    ejection_seconds: float = 10.0
    max_ejection_seconds: float = 300.0
    max_ejected_percent: float = 50.0


class Limits(_Struct):
    endpoint_connections: int = 0
    endpoint_requests: int = 0
    max_waiting: int = 0


class BackendTls(_Struct):
    ca_pem: str = ""
    server_name: str = ""
    certificate: str = ""  # id of a Certificate for mutual TLS
    insecure: bool = False


class Virtual(_Struct):
    """An address that a Service has: clusterIP, externalIP, or a node address with its port."""

    address: str
    port: int
    node_port: bool = False  # address "" means every address of the node


class Backend(_Struct):
    id: str
    protocol: Literal["http", "h2", "h2c", "https", "tcp", "tls", "udp"] = "http"
    algorithm: str = ""  # "": the default of its protocol
    hash_on: str = ""
    affinity: Affinity | None = None
    health: ActiveHealth | None = None
    outlier: Outlier | None = None
    slow_start_seconds: float = 0.0
    panic_threshold: float = 0.0
    retry: Retry | None = None
    timeouts: Timeouts | None = None
    limits: Limits | None = None
    tls: BackendTls | None = None
    zone: str = ""
    virtual: tuple[Virtual, ...] = ()
    hold: bool = False  # hold requests while empty (scale to zero)
    info: Info = Info()


class Certificate(_Struct):
    id: str
    chain_pem: str
    key_pem: str


class Name(_Struct):
    id: str
    name: str
    values: tuple[str, ...] = ()
    backend: str = ""
    ttl_seconds: int = 5


class Endpoint(_Struct):
    address: str
    port: int
    weight: int = 1
    zone: str = ""
    state: Literal["ready", "draining"] = "ready"
    name: str = ""  # the pod, as namespace/name


class BackendEndpoints(_Struct):
    """The whole set of one Backend's endpoints; replaces the earlier one."""

    backend: str
    endpoints: tuple[Endpoint, ...] = ()


class Structure(_Struct):
    """The slow part of the table."""

    listeners: dict[str, Listener] = msgspec.field(default_factory=dict)
    routes: dict[str, Route] = msgspec.field(default_factory=dict)
    backends: dict[str, Backend] = msgspec.field(default_factory=dict)
    certificates: dict[str, Certificate] = msgspec.field(default_factory=dict)
    names: dict[str, Name] = msgspec.field(default_factory=dict)
