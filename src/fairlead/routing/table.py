"""The routing table: five words (Listener, Route, Backend, Endpoint, Name) that every plane understands.

These structs are the JSON objects of docs/protocol.md, field for field; defaults are left out on the wire. A table is
immutable; `Structure` is the slow part, `BackendEndpoints` the fast one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Part = tuple[Literal["text", "variable"], str]
# Text with request variables, never parsed again: a variable is `scheme`, `host` (as sent, with its port), `hostname`,
# `path`, `uri` (path and query as sent), `escaped-uri` (the same, percent-encoded), `query`, `question` (? where there
# is a query), `method`, `client` (its address), `header:X`, `cookie:X` or `query:X`.
Template = tuple[Part, ...]


class AccessLog(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A line of JSON per request, connection or UDP session, read from the engine's statistics socket (`GET /log`)."""

    share: float = 1.0  # of the requests
    errors: bool = True  # all answers from 400 on, and those that broke off
    query: bool = False  # the path's query, which may hold secrets
    headers: tuple[str, ...] = ()  # of the request; never Authorization, Cookie and their like


class HttpSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Limits and habits of an http or https Listener; `access_log` is any Listener's."""

    request_header_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 75.0
    response_timeout_seconds: float = 60.0  # where neither Route nor Backend has timeouts; 0: none
    max_connection_age_seconds: float = 0.0  # then it is closed gently, give or take a tenth; 0: no end
    max_header_bytes: int = 65536
    max_headers: int = 100
    max_body_bytes: int = 0  # 0: no limit
    trusted_hops: int = 0  # so many proxies of ours stand before us; their X-Forwarded-* are believed
    trusted_proxies: tuple[str, ...] = ()  # networks; where given, only peers within them are believed
    client_header: str = ""  # where a proxy says who the client is; "": X-Forwarded-For (`Forwarded` is RFC 7239's)
    address_only: bool = False  # a proxy is believed who the client is, and nothing else
    tell: tuple[
        Literal["forwarded", "real-ip", "port", "scheme", "request-id", "original-uri"], ...
    ] = ()  # more about the client
    access_log: AccessLog | None = None
    h2c: bool = False


class Listener(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    protocol: Literal["http", "https", "tcp", "tls", "udp", "dns", "health"]  # health: never the engine's
    sockets: tuple[str, ...] = ()
    backend: str = ""
    certificates: tuple[str, ...] = ()
    client_ca: str = ""
    passthrough: tuple[str, ...] = ()  # hosts (or *.host, **.host) whose TLS is passed on, certificates or not
    transparent: bool = False
    proxy_protocol_in: bool = False
    http: HttpSettings | None = None


class PathMatch(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    type: Literal["exact", "prefix", "starts", "regex"] = "prefix"  # starts: a prefix of characters, not of elements
    value: str = "/"
    ignore_case: bool = False


class ValueMatch(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    name: str
    type: Literal["exact", "regex", "present"] = "exact"
    value: str = ""


class Match(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    path: PathMatch | None = None
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()


class WeightedBackend(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    backend: str
    weight: int = 1


class Redirect(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""  # replaces the whole path
    path_prefix: str = ""  # replaces the matched prefix
    location: Template = ()  # the whole Location; nothing is added to it
    status: int = 302


class Respond(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


class Rewrite(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    host: str = ""
    path: str = ""
    path_prefix: str = ""
    regex: str = ""  # searched in the path; where it matches, `substitution` is the new path
    substitution: str = ""  # $1 to $9 are groups, any other $ is itself; after a ? a query, the request's follows it


class HeaderChanges(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


class Mirror(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    backend: str
    percent: float = 100.0
    body: bool = True
    host: str = ""
    uri: Template = ()  # path and query; () as the request's


class Cors(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    allow_origins: tuple[str, ...] = ()
    one_label: bool = False  # the * of an origin stands for one label instead of anything
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age_seconds: int = 5


class Retry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    attempts: int = 2  # tries in all
    on: tuple[str, ...] = ("connect", "reset")
    buffer_bytes: int = 65536
    budget_percent: float = 20.0
    timeout_seconds: float = 0.0  # no further try after this long; 0: no end
    backoff_seconds: float = 0.0  # the least pause before a further try; doubled each time, up to ten times


class Timeouts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    connect_seconds: float = 5.0
    request_seconds: float | None = None  # of these three: None: as the Listener says; 0: never
    idle_seconds: float | None = None
    backend_request_seconds: float | None = None
    connection_age_seconds: float = 0.0  # a pooled connection gets no request after it, give or take a tenth; 0: no end


class RateLimit(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    requests_per_second: float = 0.0  # 0: any number
    burst: int = 1
    key: str = "client"  # client | header:X
    connections: int = 0  # requests in flight of one key; 0: any number
    scope: str = ""  # Routes with the same scope count together; "": this Route alone
    exempt: tuple[str, ...] = ()  # client networks that are not counted
    status: int = 429


class BasicAuth(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """User names and password hashes (`$apr1$`, `$2y$`, `$5$`, `$6$`, `{SHA}`, `{PLAIN}`), as htpasswd has them."""

    realm: str = ""
    users: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"BasicAuth(realm={self.realm!r}, users=({len(self.users)} redacted))"


class AuthRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A Backend is asked first; "" is this Listener itself, for the request's own host.

    2xx lets the request pass, 401 and 403 are answered, all else is a 500, also no answer within 30 s. It gets the
    request's headers without its body, `X-Original-URL`, `X-Original-Method` and `X-Auth-Request-Redirect` (`redirect`,
    else the request's uri).
    """

    backend: str = ""
    host: str = ""  # "": the request's
    uri: Template = ()
    method: str = ""  # "": the request's, without its body
    request_headers: HeaderChanges | None = None
    response_headers: tuple[str, ...] = ()  # copied from its answer to the request that passes
    redirect: Template = ()
    signin: Template = ()  # where a 401 is redirected to
    always_set_cookie: bool = False
    cache_key: Template = ()
    cache_seconds: float = 0.0
    cache_statuses: tuple[int, ...] = ()


class ClientCertificate(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the TLS client must show; else 400, or 421 where the handshake was for another name. The https Listener asks
    for one at the names of such Routes' hosts.

    The Backend gets `ssl-client-verify`, `-subject-dn`, `-issuer-dn` and, with `forward`, `ssl-client-cert` (PEM,
    percent-encoded); what a client sends under these names is removed.
    """

    ca_pem: str
    mode: Literal["required", "optional", "optional-no-ca"] = "required"
    depth: int = 1
    match_cn: str = ""  # a regular expression, from the common name's beginning; else 403
    error_page: Template = ()
    forward: bool = False


class Access(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who may come in. `deny` goes first; with `any`, either the networks or the credentials suffice."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    basic: BasicAuth | None = None
    request: AuthRequest | None = None
    certificate: ClientCertificate | None = None
    any: bool = False


class ErrorPages(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Answers with one of `statuses` are replaced by what `backend` says to GET / with these headers, and with
    `X-Code`, `X-Format` (the request's Accept) and `X-Original-URI`."""

    statuses: tuple[int, ...]
    backend: str
    headers: tuple[tuple[str, str], ...] = ()


class Info(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Where a thing of the table comes from; for `explain`, statistics and error messages."""

    object: str = ""  # Kind/namespace/name
    rule: str = ""  # field path within the object


class Route(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    listeners: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()  # host | *.host (one label) | **.host (one or more)
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
    limits: tuple[RateLimit, ...] = ()
    access: Access | None = None
    max_body_bytes: int = 0  # 0: as the Listener has it
    fallback: str = ""  # a Backend that answers while none of `backends` has an endpoint
    errors: ErrorPages | None = None
    info: Info = Info()


class Affinity(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    kind: Literal["client", "cookie"] = "client"
    timeout_seconds: float = 10800.0
    cookie: str = ""
    path: str = "/"
    domain: str = ""
    same_site: Literal["", "None", "Lax", "Strict"] = ""
    secure: Literal["", "always", "never"] = ""  # "": where the request came over TLS
    max_age_seconds: int = 0  # 0: as long as the browser's session
    partitioned: bool = False
    balanced: bool = False  # sessions are spread anew when endpoints come: a new one gets its share
    change_on_failure: bool = True  # else the session returns to its endpoint, once that answers again
    sticky_split: bool = True  # a cookie for one of a Route's Backends decides before their weights


class ActiveHealth(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    kind: Literal["http", "tcp", "grpc"] = "http"
    path: str = "/"
    host: str = ""
    port: int = 0
    interval_seconds: float = 10.0
    timeout_seconds: float = 1.0
    healthy_threshold: int = 2
    unhealthy_threshold: int = 3
    expected: tuple[int, int] = (200, 399)
    service: str = ""  # grpc: the service asked for; "": the server as a whole


class Outlier(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    consecutive_errors: int = 5
    connect_failures: int = 3
    success_rate_percent: float = 0.0
    ejection_seconds: float = 10.0
    max_ejection_seconds: float = 300.0
    max_ejected_percent: float = 50.0


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    endpoint_connections: int = 0
    endpoint_requests: int = 0
    max_waiting: int = 0


class BackendTls(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    ca_pem: str = ""
    server_name: str = ""
    names: tuple[str, ...] = ()  # names and URIs of which its certificate must have one; none: it must be server_name's
    certificate: str = ""  # id of a Certificate for mutual TLS
    insecure: bool = False


class Virtual(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An address that a Service has: clusterIP, externalIP, or a node address with its port.

    `external`: an address for clients outside (externalIP, load balancer, node port); where it keeps no source address,
    connections to it are masqueraded. `cluster` is set where this Backend holds only a node's own endpoints (traffic
    policy Local): it names the Backend with all of them, which clients on this node use at an external address, and
    which tells DROP (it has endpoints, we have none) from REJECT. `sources`: the client networks let in.
    """

    address: str
    port: int
    node_port: bool = False  # at every address of the node, IPv6 where `address` is "::"
    external: bool = False
    cluster: str = ""
    sources: tuple[str, ...] = ()


class Backend(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    protocol: Literal["http", "h2", "h2c", "https", "tcp", "tls", "udp"] = "http"
    algorithm: str = ""  # "": the default of its protocol
    hash_on: str = ""  # variables of a Template, joined by +
    subset: int = 0  # a hash chooses this many endpoints, one of which is taken at random
    affinity: Affinity | None = None
    health: ActiveHealth | None = None
    outlier: Outlier | None = None
    slow_start_seconds: float = 0.0
    panic_threshold: float = 0.0  # per cent of healthy endpoints; -1: the unhealthy get nothing, even if all are
    retry: Retry | None = None
    timeouts: Timeouts | None = None
    limits: Limits | None = None
    tls: BackendTls | None = None
    proxy_protocol: Literal[0, 1, 2] = 0  # its connections begin with a PROXY header of that version
    request_headers: HeaderChanges | None = None  # on top of the Route's
    response_headers: HeaderChanges | None = None
    zone: str = ""  # the engine's own; endpoints there are preferred, but no more than is fair to them
    node: str = ""  # the engine's own; endpoints there go first
    spill_factor: float = 10.0  # near ones may be so many times as busy as the least busy one elsewhere; 0: any times
    load_bound: float = 0.0  # of hashing: no endpoint over so many times its share of what is in flight; 0: no bound
    virtual: tuple[Virtual, ...] = ()
    resolve: str = ""  # NAME:PORT; the engine resolves the name and uses its addresses (not those of this machine)
    resolve_local: bool = False  # those, too: loopback, link-local, metadata services
    hold: bool = False  # hold requests while empty (scale to zero)
    info: Info = Info()


class Certificate(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    chain_pem: str
    key_pem: str

    def __repr__(self) -> str:
        return f"Certificate(id={self.id!r}, key_pem=***)"


class Name(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    name: str
    values: tuple[str, ...] = ()
    backend: str = ""
    ttl_seconds: int = 5


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    address: str
    port: int
    weight: int = 1
    zone: str = ""
    node: str = ""
    state: Literal["ready", "draining"] = "ready"
    name: str = ""  # the pod, as namespace/name
    hostname: str = ""  # what DNS calls it below a headless Service, where the pod says so itself


class BackendEndpoints(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The whole set of one Backend's endpoints; replaces the earlier one."""

    backend: str
    endpoints: tuple[Endpoint, ...] = ()


class Structure(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The slow part of the table."""

    listeners: dict[str, Listener] = msgspec.field(default_factory=dict)
    routes: dict[str, Route] = msgspec.field(default_factory=dict)
    backends: dict[str, Backend] = msgspec.field(default_factory=dict)
    certificates: dict[str, Certificate] = msgspec.field(default_factory=dict)
    names: dict[str, Name] = msgspec.field(default_factory=dict)
    # Nobody comes in any more, by the addresses for clients outside or by any: Services refuse, at every plane.
    shut: Literal["", "outside", "all"] = ""
