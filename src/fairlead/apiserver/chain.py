"""The chain: request -> authn -> authz -> admission -> store -> watch, as one `Exchange` for every transport.

Whatever fails is a Status: a user's mistake with its reason, a bug as 500 with an id that the log has too. Nothing else
reaches the store.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import uuid
from pathlib import Path

import msgspec

from fairlead.apiserver import (
    addresses,
    around,
    audit,
    authentication,
    broadcast,
    dispatch,
    metrics,
    pod_door,
    rbac,
    requests,
    resources,
    status,
    tokens,
    write,
)
from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.client import errors, exchange
from fairlead.store import protocol

REQUEST_SECONDS = 60.0
MAX_IN_FLIGHT = 800

log = logs.get(__name__)


class Chain:
    """One API server's chain. Call it with a Request."""

    def __init__(
        self,
        store: protocol.Store,
        registry: resources.Registry,
        authenticator: authentication.Authenticator,
        allocator: addresses.Allocator,
        *,
        clock: clocks.Clock,
        source: random.Random,
        node_name: str,
        tokens: tokens.Tokens,
    ) -> None:
        self.store = store
        self.registry = registry
        self.authenticator = authenticator
        self.authorizer = rbac.Authorizer(store)
        self.pod_door: pod_door.PodDoor | None = None
        self.node_name = node_name
        self._allocator = allocator
        self._clock = clock
        self._random = source
        self.tokens = tokens
        self.writer = write.Writer(store)
        self.watches = broadcast.Groups(store)
        self._dispatcher = dispatch.Dispatcher(self)
        self.metrics = metrics.Metrics()
        self.audit: audit.Audit | None = None
        self.folder: Path | None = None  # where a backup is made
        self.in_flight = 0

    async def __call__(self, request: exchange.Request) -> exchange.Response:
        """The answer, never an exception."""
        if self.in_flight >= MAX_IN_FLIGHT:
            return status.response(status.too_many("too many requests, please try again later"))
        self.in_flight += 1
        info: requests.Info | None = None
        started, began = self._clock.now(), self._clock.monotonic()
        try:
            info = requests.read(request, self._identity(request))
            self.authorize(info)
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await self._dispatcher.answer(info)
        except errors.ApiError as error:
            response = status.response(error)
        except TimeoutError:
            response = status.response(status.timeout("request did not complete within the allotted time"))
        except Exception as error:
            response = _broken(request, error)
        finally:
            self.in_flight -= 1
        self.metrics.observe(info, response.status, self._clock.monotonic() - began)
        if info is not None and self.audit is not None:
            self.audit.note(info, response.status, started)
        if info is not None and info.warnings:
            response.headers = {**response.headers, "warning": _warnings(info.warnings)}
        return response

    def admit(self, request: exchange.Request) -> requests.Info:
        """Authn and authz. Raises ApiError 401 or 403."""
        info = requests.read(request, self._identity(request))
        self.authorize(info)
        return info

    def _identity(self, request: exchange.Request) -> exchange.Identity:
        identity = request.identity
        if identity is None:
            identity = self.authenticator.identify(request.headers, None)
        if "impersonate-user" in request.headers:
            identity = self._impersonated(identity, request)
        return identity

    def authorize(self, info: requests.Info) -> None:
        """Raises ApiError 403."""
        if not self.authorizer.allowed(info.identity, attributes_of(info)):
            raise denial(info.identity, info)

    def may(self, info: requests.Info, verb: str) -> bool:
        """Whether the caller may also do another verb on what the request is about."""
        attributes = msgspec.structs.replace(attributes_of(info), verb=verb)
        return self.authorizer.allowed(info.identity, attributes)

    def denied(self, info: requests.Info, verb: str) -> errors.ApiError:
        """403 for another verb on what the request is about."""
        return denial(info.identity, dataclasses.replace(info, verb=verb))

    def _impersonated(self, identity: exchange.Identity, request: exchange.Request) -> exchange.Identity:
        user = request.headers["impersonate-user"]
        groups = tuple(text for text in request.headers.get("impersonate-group", "").split("\n") if text)
        asked = [rbac.Attributes("impersonate", "", "users", name=user)]
        if user.startswith("system:serviceaccount:"):
            _, _, namespace, name = user.split(":", 3)
            asked = [rbac.Attributes("impersonate", "", "serviceaccounts", "", namespace, name)]
        asked += [rbac.Attributes("impersonate", "", "groups", name=group) for group in groups]
        for one in asked:
            if not self.authorizer.allowed(identity, one):
                message = (
                    f'User "{identity.username}" cannot impersonate resource "{one.resource}" in API group "" '
                    f"at the cluster scope"
                )
                raise status.failure(403, "Forbidden", f'{one.resource} "{one.name}" is forbidden: {message}')
        return exchange.Identity(user, (*groups, authentication.AUTHENTICATED))

    def around(self, info: requests.Info) -> around.Around:
        """What admission may look at for one request."""
        return around.Around(
            self.store,
            self._allocator,
            self._clock,
            self._random,
            info=info,
            node_name=self.node_name,
            authorizer=self.authorizer,
        )

    @property
    def clock(self) -> clocks.Clock:
        return self._clock


def attributes_of(info: requests.Info) -> rbac.Attributes:
    """What authorization decides about."""
    if not info.resource:
        return rbac.Attributes(info.method.lower(), path=info.path)
    namespace = info.namespace
    return rbac.Attributes(info.verb, info.group, info.resource, info.subresource, namespace, info.name)


def denial(identity: exchange.Identity, info: requests.Info) -> errors.ApiError:
    """403 in Kubernetes' words."""
    user = f'User "{identity.username}" cannot'
    if not info.resource:
        text = f'forbidden: {user} {info.method.lower()} path "{info.path}"'
        return status.failure(403, "Forbidden", text, details={})
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    shown = f"{info.resource}.{info.group}" if info.group else info.resource
    name = f' "{info.name}"' if info.name else ""
    text = f'{shown}{name} is forbidden: {user} {info.verb} resource "{resource}" in API group "{info.group}" {where}'
    details = {"name": info.name, "group": info.group, "kind": info.resource}
    return status.failure(403, "Forbidden", text, details={key: value for key, value in details.items() if value})


def _warnings(texts: list[str]) -> str:
    """`Warning` headers (RFC 7234), one for each text, joined as one field."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for text in dict.fromkeys(texts))
    return ", ".join(f'299 - "{text}"' for text in quoted)


def _broken(request: exchange.Request, error: Exception) -> exchange.Response:
    number = uuid.uuid4().hex[:12]
    log.error("request failed", error=error, id=number, method=request.method, path=request.path)
    return status.response(status.internal(f"this is a bug in fairlead; the log has it as {number}"))
