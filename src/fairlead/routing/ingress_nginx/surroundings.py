"""What a location's annotations name besides its own Backend: Secrets, ConfigMaps, other Services, other hosts.

Each method gives its part of the Route, or raises ValueError with the reason, which closes the path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.routing import table
from fairlead.routing.ingress_nginx import access, backends, catalogue, objects, policies, sites, template, url, values

Get = Callable[..., Any]
Tell = Callable[[str, str, str], None]


class Surroundings:
    """The surroundings of one location."""

    def __init__(
        self,
        location: sites.Location,
        get: Get,
        *,
        config: catalogue.Words,
        secrets: objects.Lookup,
        config_maps: objects.Lookup,
        found: backends.Backends,
        tell: Tell,
        certified: sites.Source | None,
    ) -> None:
        self._location, self._source, self._get, self._config = location, location.source, get, config
        self._secrets, self._config_maps, self._backends, self._tell = secrets, config_maps, found, tell
        self._certified = certified

    def access(self) -> table.Access | None:
        """Networks, credentials and client certificates."""
        namespace = self._source.namespace
        exempt = tuple(self._config.get("no-auth-locations", ("/.well-known/acme-challenge",)))
        asks = not self._location.path.startswith(exempt)
        one = table.Access(
            allow=tuple(self._get("allowlist-source-range", ())),
            deny=(*self._get("denylist-source-range", ()), *self._config.get("block-cidrs", ())),
            basic=access.basic(self._get, namespace=namespace, secrets=self._secrets, tell=self._tell_of_users)
            if asks
            else None,
            request=self._auth_request() if asks else None,
            certificate=self._certificate(),
            any=self._get("satisfy", "all") == "any",
        )
        return None if one == table.Access(any=one.any) else one

    def _certificate(self) -> table.ClientCertificate | None:
        """The Ingress's own wish, else that of the first of its host; a broken one of another namespace is none."""
        own, other = self._source, self._certified
        if "auth-tls-secret" in own.words or other is None:
            return access.certificate(self._get, namespace=own.namespace, secrets=self._secrets)
        try:
            return access.certificate(other.words.get, namespace=other.namespace, secrets=self._secrets)
        except ValueError:
            if other.namespace == own.namespace:
                raise
            return None

    def _tell_of_users(self, message: str) -> None:
        self._tell(f"metadata.annotations[{catalogue.PREFIX}auth-secret]", "UnsupportedPassword", message)

    def _auth_request(self) -> Any:
        words = self._source.words
        own = "auth-url" in words
        if not own and not words.get("enable-global-auth", True):
            return None
        get = words.get if own else self._config.get
        headers = None
        if reference := words.get("auth-proxy-set-headers"):
            data = self._config_maps.get(reference, namespace=self._source.namespace)
            sent = policies.headers(data, values.header_text, values.token)
            headers = table.HeaderChanges(set=tuple(sent.items()))
        return access.request(get, backend=self._backends.url, headers=headers)

    def mirrors(self) -> tuple[table.Mirror, ...]:
        """mirror-target; a target that cannot be had is told, and the request goes on without."""
        target: url.Url | None = self._get("mirror-target")
        if target is None:
            return ()
        name = f"metadata.annotations[{catalogue.PREFIX}mirror-target]"
        if target.self_host:
            self._tell(name, "InvalidValue", "a mirror needs a host of its own")
            return ()
        try:
            backend = self._backends.url(target)
        except backends.NoBackend as error:
            self._tell(name, error.reason, str(error))
            return ()
        host = self._get("mirror-host", target.host)
        body = self._get("mirror-request-body", True)
        return (table.Mirror(backend=backend, body=body, host=host, uri=target.uri),)

    def default_backend(self) -> str:
        """The Backend of the annotation default-backend; "" when there is none."""
        name = self._get("default-backend")
        path = f"metadata.annotations[{catalogue.PREFIX}default-backend]"
        if not name:
            return ""
        try:
            return self._backends.service((self._source.namespace, name), None)
        except backends.NoBackend as error:
            self._tell(path, error.reason, str(error))
            return ""

    def errors(self, default_backend: str) -> table.ErrorPages | None:
        """custom-http-errors: the default backend explains them."""
        statuses = tuple(code for code in self._get("custom-http-errors", ()) if code >= 300)
        if not statuses or self._get("disable-proxy-intercept-errors", False):
            return None
        if not default_backend:
            place = f"metadata.annotations[{catalogue.PREFIX}custom-http-errors]"
            self._tell(place, "NoDefaultBackend", "nobody explains these errors: name a Service in default-backend")
            return None
        return table.ErrorPages(statuses=statuses, backend=default_backend, headers=self._whose())

    def instead(self) -> table.HeaderChanges:
        """What the default backend is told that answers in the place of a Service which is not there."""
        named = {"X-Code": "503", **dict(self._whose())}
        before = self.request_headers()
        return table.HeaderChanges(set=(*(before.set if before else ()), *named.items()))

    def _whose(self) -> tuple[tuple[str, str], ...]:
        service = (self._location.backend or {}).get("service") or {}
        port = service.get("port") or {}
        return (
            ("X-Namespace", self._source.namespace),
            ("X-Ingress-Name", self._source.name),
            ("X-Service-Name", str(service.get("name") or "")),
            ("X-Service-Port", str(port.get("name") or port.get("number") or "")),
        )

    def upstream_host(self) -> str:
        """upstream-vhost, with what of its variables is fixed."""
        value = self._source.words.get("upstream-vhost")
        if not value:
            return ""
        service = (self._location.backend or {}).get("service") or {}
        port = service.get("port") or {}
        known = {
            "namespace": self._source.namespace,
            "ingress_name": self._source.name,
            "service_name": str(service.get("name") or ""),
            "service_port": str(port.get("name") or port.get("number") or ""),
        }
        try:
            host = template.plain(template.parse(value, known=known))
            return values.host(host.rpartition(":")[0] or host) and host if host is not None else ""
        except ValueError as error:
            self._tell(f"metadata.annotations[{catalogue.PREFIX}upstream-vhost]", "InvalidValue", str(error))
            return ""

    def request_headers(self) -> table.HeaderChanges | None:
        """x-forwarded-prefix (with a rewrite only) and the ConfigMap's proxy-set-headers."""
        sent = self._shared("proxy-set-headers")
        prefix = self._source.words.get("x-forwarded-prefix")
        if prefix and sites.rewrites(self._location):
            sent["X-Forwarded-Prefix"] = prefix
        return table.HeaderChanges(set=tuple(sent.items())) if sent else None

    def response_headers(self) -> tuple[tuple[str, str], ...]:
        """custom-headers, as far as the controller's ConfigMap allows their names, and its add-headers."""
        path = f"metadata.annotations[{catalogue.PREFIX}custom-headers]"
        sent: dict[str, str] = {}
        if reference := self._source.words.get("custom-headers"):
            data = self._config_maps.get(reference, namespace=self._source.namespace)
            sent = policies.headers(data, values.header_text, values.token)
        allowed = {str(name).lower() for name in self._config.get("global-allowed-response-headers", ())}
        for name in [name for name in sent if name.lower() not in allowed]:
            sent.pop(name)
            self._tell(path, "NotAllowed", f"the ConfigMap's global-allowed-response-headers does not have {name}")
        return tuple((sent | self._shared("add-headers")).items())

    def _shared(self, key: str) -> dict[str, str]:
        """The headers of a ConfigMap that the controller's own ConfigMap names."""
        reference = self._config.get(key)
        data = self._config_maps.at("/".join(reference)) if reference else None
        return policies.headers(data, values.header_text, values.token) if data else {}
