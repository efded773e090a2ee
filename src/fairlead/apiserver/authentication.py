"""Who asks: a bearer token, a client certificate, a ServiceAccount's token, or nobody (`system:anonymous`).

Tokens are compared in constant time. A wrong token is 401, never anonymous. Anonymous may do what RBAC gives to
`system:unauthenticated`: `/livez`, `/readyz`, `/healthz`, `/version`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.apiserver import status
from fairlead.client import errors, exchange

ANONYMOUS = exchange.Identity("system:anonymous", ("system:unauthenticated",))
AUTHENTICATED = "system:authenticated"
SERVER = exchange.Identity("system:apiserver", ("system:masters", AUTHENTICATED))
"""The API server itself: the very object, not its name, lets it write the bootstrap roles before any role is there."""

AUDIENCE = "https://kubernetes.default.svc.cluster.local"
"""What a token must be for to be good here; also the issuer of ServiceAccount tokens."""

TokenReader = Callable[[str, tuple[str, ...]], exchange.Identity | None]
"""Who a token speaks for, if it is good for one of the audiences."""


class Authenticator:
    """Static tokens by their digest, then `read_token` for signed ones."""

    def __init__(self, tokens: Mapping[str, exchange.Identity], *, read_token: TokenReader | None = None) -> None:
        self._tokens = {hashlib.sha256(token.encode()).digest(): identity for token, identity in tokens.items()}
        self._read_token = read_token

    def identify(self, headers: Mapping[str, str], certificate: Mapping[str, Any] | None) -> exchange.Identity:
        """The identity of a request. Raises ApiError 401."""
        header = headers.get("authorization", "")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise status.unauthorized()
            return self.of_token(token.strip())
        if certificate:
            return of_certificate(certificate)
        return ANONYMOUS

    def of_token(self, token: str, *, audiences: tuple[str, ...] = ()) -> exchange.Identity:
        """The identity that a token names to one of the audiences, or to this server. Raises ApiError 401."""
        wanted = audiences or (AUDIENCE,)
        digest = hashlib.sha256(token.encode()).digest()
        for known, identity in self._tokens.items():
            if hmac.compare_digest(known, digest) and AUDIENCE in wanted:
                return identity
        found = self._read_token(token, wanted) if self._read_token else None
        if found is None:
            raise status.unauthorized()
        return found

    def good_for(self, token: str, audience: str) -> bool:
        """Whether a token is good for an audience."""
        try:
            self.of_token(token, audiences=(audience,))
        except errors.ApiError:
            return False
        return True


def of_certificate(certificate: Mapping[str, Any]) -> exchange.Identity:
    """Common name and organizations of a verified client certificate, as `ssl.getpeercert` gives it."""
    names = [pair for relative in certificate.get("subject", ()) for pair in relative]
    user = next((value for key, value in names if key == "commonName"), "")
    if not user:
        raise status.unauthorized()
    groups = tuple(value for key, value in names if key == "organizationName")
    return exchange.Identity(user, (*groups, AUTHENTICATED))
