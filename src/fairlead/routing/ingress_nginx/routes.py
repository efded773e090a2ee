"""One location of a site to Routes of the edge.

A location is a main Route and what goes before it: redirects (permanent, temporal, app-root, to https), a canary's
header and cookie matches. Anything that guards and cannot be had answers 503: a closed door, never an open one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.api.problem import Problem
from fairlead.routing import draft, paths, table
from fairlead.routing.ingress_nginx import (
    access,
    backends,
    canaries,
    catalogue,
    objects,
    pattern,
    policies,
    sites,
    surroundings,
)

HTTP, HTTPS = "edge-http", "edge-https"
_CLOSED = "this path is closed: its Ingress asks for something that is refused or wrong (see its Events)\n"


class Routes:
    """Adds the Routes of sites to the draft."""

    def __init__(self, work: draft.Draft, config: catalogue.Words) -> None:
        self.work = work
        self.config = config
        self.secrets = objects.Lookup("Secret", work.secrets)
        self.config_maps = objects.Lookup("ConfigMap", work.config_maps)
        self.backends = backends.Backends(work, self.secrets)
        self.told: set[Problem] = set()

    def add_site(self, site: sites.Site) -> None:
        """All locations of a host, and what it is redirected from."""
        regex, certified = site.regex, site.certified
        for location in site.locations:
            _Location(self, site, location, regex=regex, certified=certified).add()
        if site.www:
            status = self.config.get("http-redirect-code", 308)
            name = f"{site.first.object}/www/{site.www}"
            rule = f"metadata.annotations[{catalogue.PREFIX}from-to-www-redirect]"
            self.work.routes[name] = table.Route(
                id=name,
                listeners=(HTTP, HTTPS) if self.work.https else (HTTP,),
                hosts=(site.www,),
                redirect=table.Redirect(host=site.host, status=status),
                info=table.Info(object=site.first.object, rule=rule),
            )

    @property
    def https_port(self) -> int:
        """Where TLS is spoken, for redirects; 0 is the scheme's own."""
        port = int(self.work.settings.edge_https[0].rpartition(":")[2]) if self.work.settings.edge_https else 443
        return 0 if port == 443 else port


class _Location:
    """One location."""

    def __init__(
        self, routes: Routes, site: sites.Site, location: sites.Location, *, regex: bool, certified: sites.Source | None
    ) -> None:
        self._routes, self._site, self._location, self._regex = routes, site, location, regex
        self._source, self._words, self._config = location.source, location.source.words, routes.config
        self._work = routes.work
        self._id = f"{self._source.object}/{location.rule}" + (f"/{site.host}" if location.default else "")
        self._response_headers: tuple[tuple[str, str], ...] = ()
        self._fallback = ""
        self._surroundings = surroundings.Surroundings(
            location, self.get, config=self._config, secrets=routes.secrets, config_maps=routes.config_maps,
            found=routes.backends, tell=self._tell, certified=certified,
        )  # fmt: skip

    def get(self, name: str, default: Any = None) -> Any:
        """The Ingress's word, else the ConfigMap's, else the default."""
        return self._words.get(name, self._config.get(name, default))

    def add(self) -> None:
        try:
            match = table.Match(path=self._path())
        except ValueError as error:
            self._tell(self._location.place + ".path", "InvalidPath", f"{error}; what begins as it does answers 503")
            self._close_beginning()
            return
        closed = self._words.denied or self._config.denied
        if closed:
            self._put("", match, (HTTP, HTTPS), respond=table.Respond(status=503, body=_CLOSED))
            return
        self._block(match)
        if self._redirects(match):
            return
        try:
            fields = self._fields()
        except ValueError as error:
            self._tell("metadata.annotations", "Closed", f"{error}; its paths answer 503")
            self._put("", match, (HTTP, HTTPS), respond=table.Respond(status=503, body=_CLOSED))
            return
        self._add_app_root()
        self._add_slash()
        for suffix, one, own in self._splits(match):
            self._place(suffix, one, {**fields, **own})

    def _block(self, match: table.Match) -> None:
        """The ConfigMap's block-user-agents and -referers: a field that is said three times outranks all others."""
        for name, field in (("block-user-agents", "User-Agent"), ("block-referers", "Referer")):
            if words := self._config.get(name):
                header = table.ValueMatch(name=field, type="regex", value=pattern.whole("|".join(words)))
                blocked = msgspec.structs.replace(match, headers=(header, header, header))
                respond = table.Respond(status=403, body="forbidden\n")
                self._put(f"/{name}", blocked, (HTTP, HTTPS), respond=respond)

    def _close_beginning(self) -> None:
        """A path that is refused may guard something: a less specific one shall not answer in its place."""
        beginning = paths.beginning(self._location.path)
        if beginning not in ("", "/"):
            match = table.Match(path=table.PathMatch(type="regex", value=f"^{beginning}", ignore_case=True))
            self._put("", match, (HTTP, HTTPS), respond=table.Respond(status=503, body=_CLOSED))

    def _path(self) -> table.PathMatch:
        path, kind = self._location.path, self._location.kind
        if self._regex:
            return table.PathMatch(type="regex", value=pattern.path(path), ignore_case=True)
        if kind == "Exact":
            return table.PathMatch(type="exact", value=path)
        if kind == "Prefix":
            return table.PathMatch(type="prefix", value=path.rstrip("/") or "/")
        return table.PathMatch(type="starts", value=path)

    def _redirects(self, match: table.Match) -> bool:
        for name, status in (("permanent-redirect", 301), ("temporal-redirect", 302)):
            if target := self._words.get(name):
                code = self._words.get(f"{name}-code", status)
                location = policies.target(target, self.get)
                self._put("", match, (HTTP, HTTPS), redirect=table.Redirect(location=location, status=code))
                return True
        return False

    def _add_app_root(self) -> None:
        root = self._words.get("app-root")
        if root and root != self._location.path:
            exact = table.Match(path=table.PathMatch(type="exact", value=self._location.path))
            to: table.Template = (("variable", "scheme"), ("text", "://"), ("variable", "host"), ("text", root))
            self._put("/app-root", exact, (HTTP, HTTPS), redirect=table.Redirect(location=to, status=302))

    def _add_slash(self) -> None:
        """nginx redirects /foo to /foo/ where only the latter is a location."""
        path = self._location.path
        taken = {(one.path, one.kind) for one in self._site.locations}
        if self._regex or path == "/" or not path.endswith("/") or self._location.kind != "ImplementationSpecific":
            return
        bare = path.rstrip("/")
        if bare and not taken & {(bare, kind) for kind in sites.KINDS}:
            exact = table.Match(path=table.PathMatch(type="exact", value=bare))
            self._put("/slash", exact, (HTTP, HTTPS), redirect=policies.slashed(path, self.get))

    def _fields(self) -> dict[str, Any]:
        get, near = self.get, self._surroundings
        self._response_headers = near.response_headers()
        default_backend = self._fallback = near.default_backend()
        return {
            "rewrite": policies.rewrite(self._location, get, host=near.upstream_host()),
            "timeouts": policies.timeouts(get),
            "retry": policies.retry(get),
            "cors": policies.cors(get),
            "max_body_bytes": policies.body_limit(get),
            "limits": access.limits(get, key=self._source.key),
            "access": near.access(),
            "mirrors": near.mirrors(),
            "fallback": default_backend,
            "errors": near.errors(default_backend),
            "request_headers": near.request_headers(),
        }

    def _splits(self, match: table.Match) -> list[tuple[str, table.Match, dict[str, Any]]]:
        """The Route, or the Routes of a canary: id suffix, match, Backends or answer."""
        canary = self._site.canaries.get((self._location.path, self._location.kind))
        main = self._backend(self._location, canaries.main_getter(canary, self.get))
        if self._location.backend is None:
            return [("", match, {"respond": table.Respond(status=404, body="default backend - 404")})]
        if not main and self._fallback:
            instead = {"backends": (table.WeightedBackend(backend=self._fallback),), "fallback": ""}
            return [("", match, {**instead, "request_headers": self._surroundings.instead()})]
        if not main:
            return [("", match, {"respond": table.Respond(status=503, body="no such backend\n")})]
        other = self._backend(canary, canaries.getter(canary, self.get)) if canary else ""
        self._warn()
        if canary is None or not other:
            return [("", match, {"backends": (table.WeightedBackend(backend=main),)})]
        return [
            (suffix, one, {"backends": chosen})
            for suffix, one, chosen in canaries.splits(match, canary.source.words, main=main, canary=other)
        ]

    def _backend(self, location: sites.Location, get: Any) -> str:
        if location.backend is None:
            return ""
        try:
            return self._routes.backends.reference(location.backend, location.source, get, path=location.path)
        except backends.NoBackend as error:
            where = location.place if location.default else f"{location.place}.backend"
            self._work.problem(location.source.object, where + error.below, error.reason, str(error))
        except ValueError as error:
            self._work.problem(location.source.object, "metadata.annotations", "Closed", f"{error}; it answers 503")
        return ""

    def _warn(self) -> None:
        """What ingress-nginx passes over in silence, or says in its log."""
        if self.get("service-upstream") and (mine := [name for name in backends.BALANCING if name in self._words]):
            what = f"the Service's own balancing decides: {', '.join(mine)} of this Ingress does not apply"
            self._tell(f"metadata.annotations[{catalogue.PREFIX}service-upstream]", "ServiceDecides", what)
        elif self.get("affinity") and self._words.get("use-regex") and not self.get("session-cookie-path"):
            path = self._location.path
            what = f"browsers would not send a cookie of the path {path}: use-regex needs session-cookie-path"
            self._tell(f"metadata.annotations[{catalogue.PREFIX}affinity]", "CookiePath", what)

    def _place(self, suffix: str, match: table.Match, fields: dict[str, Any]) -> None:
        """The Route at the doors that it is for: after the redirect to https, with HSTS where TLS is spoken."""
        get, tls = self.get, self._site.tls
        exempt = tuple(self._config.get("no-tls-redirect-locations", ("/.well-known/acme-challenge",)))
        to_https = get("force-ssl-redirect", False) or (get("ssl-redirect", True) and tls)
        strict = policies.strict_transport(get) if tls else ()
        if to_https and not self._location.path.startswith(exempt):
            if self._config.get("use-forwarded-headers"):  # a proxy in front may have ended TLS already
                header = table.ValueMatch(name="X-Forwarded-Proto", value="https")
                behind = msgspec.structs.replace(match, headers=(*match.headers, header))
                self._put(f"{suffix}/forwarded", behind, (HTTP,), strict=strict, **fields)
            if not suffix:
                redirect = table.Redirect(
                    scheme="https", port=self._routes.https_port, status=self._config.get("http-redirect-code", 308)
                )
                self._put("/to-https", match, (HTTP,), redirect=redirect)
            self._put(suffix, match, (HTTPS,), strict=strict, **fields)
        elif strict:
            self._put(suffix, match, (HTTP,), **fields)
            self._put(f"{suffix}/tls", match, (HTTPS,), strict=strict, **fields)
        else:
            self._put(suffix, match, (HTTP, HTTPS), **fields)

    def _put(
        self,
        suffix: str,
        match: table.Match,
        doors: tuple[str, ...],
        *,
        strict: tuple[tuple[str, str], ...] = (),
        **fields: Any,
    ) -> None:
        doors = tuple(door for door in doors if door == HTTP or self._work.https)
        if not doors:
            return
        name = self._id + suffix
        sent = (*self._response_headers, *strict)
        hidden = tuple(self._config.get("hide-headers", ()))
        if (sent or hidden) and not fields.get("redirect"):
            fields["response_headers"] = table.HeaderChanges(set=sent, remove=hidden)
        self._work.routes[name] = table.Route(
            id=name,
            listeners=doors,
            hosts=(self._site.host, *self._site.aliases) if self._site.host else (),
            match=match,
            order=self._source.order * canaries.STRIDE + canaries.place(suffix),
            info=table.Info(object=self._source.object, rule=self._location.place),
            **fields,
        )

    def _tell(self, path: str, reason: str, message: str) -> None:
        problem = Problem(self._source.object, path, reason, message)
        if problem not in self._routes.told:  # the same for each path is said once
            self._routes.told.add(problem)
            self._work.problems.append(problem)
