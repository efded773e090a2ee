"""ServiceAccount tokens: JWTs signed with the cluster's own key (ES256), bound to the account and, if asked, to a Pod
(and its Node), a Secret or a Node.

A token is good while it has not expired, its account has the same uid, and what it is bound to is still there and not
deleted more than a minute ago.
Follows k8s.io/kubernetes `pkg/serviceaccount` (claims) and RFC 7519. `cryptography` is imported with the first
token.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path
from typing import Any

import msgspec

from fairlead.api import field_errors
from fairlead.api.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from fairlead.apiserver import authentication, codec, requests, status
from fairlead.base import clock as clocks
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
ISSUER = authentication.AUDIENCE
REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests")
DELETED_SECONDS = 60.0
"""How long a token outlives the deletion of what it is bound to: the pod may still have to say goodbye."""
_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
DEFAULT_SECONDS, LEAST_SECONDS, MOST_SECONDS = 3600, 600, 2**32
_REMEMBERED = 1024


class Tokens:
    """Makes and reads the tokens of one cluster."""

    def __init__(self, store: protocol.Store, key_file: Path, *, clock: clocks.Clock) -> None:
        self._store = store
        self._key_file = key_file
        self._clock = clock
        self._key: Any = None
        self._known: dict[str, Object] = {}

    def warm(self) -> None:
        """Does what the first token would wait for (an import of 50 ms, the key). For a thread."""
        from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: F401

        self._private_key()

    def _private_key(self) -> Any:
        if self._key is None:
            from cryptography.hazmat.primitives import serialization

            self._key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        return self._key

    def request(self, info: requests.Info) -> Object:
        """Answers a TokenRequest about the account that the path names. Raises ApiError."""
        account = self._shared("serviceaccounts", info.namespace, info.name)
        if account is None:
            raise status.not_found(SERVICE_ACCOUNT, info.name)
        parsed = codec.parse(info.body, info.headers.get("content-type", "")) if info.body else {}
        spec = codec.shaped_as(parsed, REQUEST).get("spec") or {}
        seconds = spec.get("expirationSeconds") or DEFAULT_SECONDS
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            short = "may not specify a duration less than 10 minutes"
            detail = short if seconds < LEAST_SECONDS else "may not specify a duration larger than 2^32 seconds"
            found = [field_errors.invalid("spec.expirationSeconds", seconds, detail)]
            raise status.invalid(REQUEST, info.name, found)
        audiences = list(spec.get("audiences") or [ISSUER])
        now = int(self._clock.now())
        claims = self._claims(account, audiences, now, now + seconds, spec.get("boundObjectRef"))
        answer = {"token": self._sign(claims), "expirationTimestamp": clocks.rfc3339(now + seconds)}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": info.name, "namespace": info.namespace},
            "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": answer,
        }

    def _claims(self, account: Object, audiences: list[str], now: int, end: int, bound: Any) -> Object:
        metadata = account["metadata"]
        about: Object = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound:
            about |= self._bound(account, bound)
        subject = f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}"
        claims: Object = {"aud": audiences, "exp": end, "iat": now, "nbf": now, "iss": ISSUER, "sub": subject}
        return {**claims, "jti": secrets.token_hex(16), "kubernetes.io": about}

    def _bound(self, account: Object, bound: Object) -> Object:
        """The claims about what the token is bound to. Raises ApiError."""
        kind, namespace, name = bound.get("kind", ""), account["metadata"]["namespace"], bound.get("name", "")
        if kind not in _BOUND or bound.get("apiVersion", "v1") != "v1":
            text = f"cannot bind token to object of type {bound.get('apiVersion', 'v1')}, Kind={kind}"
            raise status.bad_request(text)
        about = {"Pod": POD, "Secret": SECRET, "Node": NODE}[kind]
        found = self._object(_BOUND[kind], namespace if about.namespaced else "", name)
        if found is None:
            raise status.not_found(about, name)
        uid = found["metadata"]["uid"]
        if bound.get("uid") not in (None, "", uid):
            detail = f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record ({uid})"
            raise status.conflict(about, name, detail)
        claims: Object = {kind.lower(): {"name": name, "uid": uid}}
        if kind == "Pod":
            self._check_account(found, account)
            node = self._shared("nodes", "", found["spec"].get("nodeName", ""))
            if node is not None:
                claims["node"] = {"name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
        return claims

    def _check_account(self, pod: Object, account: Object) -> None:
        name = account["metadata"]["name"]
        if pod["spec"].get("serviceAccountName") != name:
            raise status.bad_request(
                f'cannot bind token for serviceaccount "{name}" to pod running with different serviceaccount name.'
            )

    def _object(self, bucket: str, namespace: str, name: str) -> Object | None:
        entry = self._store.get(f"{bucket}/{namespace}/{name}")
        return codec.decode(entry.value) if entry else None

    def _shared(self, bucket: str, namespace: str, name: str) -> Object | None:
        entry = self._store.get(f"{bucket}/{namespace}/{name}")
        return codec.shared(entry.value) if entry else None

    def _sign(self, claims: Object) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        text = f"{_encode({'alg': 'ES256', 'typ': 'JWT'})}.{_encode(claims)}"
        signature = self._private_key().sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        first, second = utils.decode_dss_signature(signature)
        raw = first.to_bytes(32, "big") + second.to_bytes(32, "big")
        return f"{text}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"

    def read(self, token: str, audiences: tuple[str, ...] = (ISSUER,)) -> exchange.Identity | None:
        """Who a token speaks for to one of the audiences; None for one that is not good."""
        claims = self._known.get(token)
        if claims is None:
            claims = self._verified(token)
            if claims is None:
                return None
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[token] = claims
        return self._identity(claims, audiences)

    def _verified(self, token: str) -> Object | None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        try:
            head, body, signature = token.split(".")
            if _decode(head).get("alg") != "ES256":
                return None
            raw = base64.urlsafe_b64decode(signature + "==")
            if len(raw) != 64:
                return None
            encoded = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._private_key().public_key().verify(encoded, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            return _decode(body)
        except (ValueError, binascii.Error, msgspec.DecodeError, InvalidSignature):
            return None

    def _identity(self, claims: Object, audiences: tuple[str, ...]) -> exchange.Identity | None:
        now, about = self._clock.now(), claims.get("kubernetes.io")
        if not isinstance(about, dict) or claims.get("iss") != ISSUER:
            return None
        if not set(audiences) & set(claims.get("aud", ())):
            return None
        if not claims.get("nbf", 0) - 60 <= now < claims.get("exp", 0):
            return None
        namespace, account = about["namespace"], about["serviceaccount"]
        if not self._stands("serviceaccounts", namespace, account, now):
            return None
        for word in ("pod", "secret"):
            if word in about and not self._stands(f"{word}s", namespace, about[word], now):
                return None
        if "node" in about and "pod" not in about and not self._stands("nodes", "", about["node"], now):
            return None
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims.get('jti', '')}",)}
        for word in ("pod", "node"):
            if word in about:
                extra[f"authentication.kubernetes.io/{word}-name"] = (about[word]["name"],)
                extra[f"authentication.kubernetes.io/{word}-uid"] = (about[word]["uid"],)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", authentication.AUTHENTICATED)
        user = f"system:serviceaccount:{namespace}:{account['name']}"
        return exchange.Identity(user, groups, account["uid"], extra)

    def _stands(self, bucket: str, namespace: str, reference: Object, now: float) -> bool:
        """True while an object that a token names is there: the same one, and not deleted for more than a minute."""
        known = self._object(bucket, namespace, reference["name"])
        if known is None or known["metadata"]["uid"] != reference["uid"]:
            return False
        deleted = known["metadata"].get("deletionTimestamp")
        return deleted is None or now < clocks.parse_rfc3339(deleted) + DELETED_SECONDS


def _encode(value: Object) -> str:
    return base64.urlsafe_b64encode(codec.encode(value)).rstrip(b"=").decode()


def _decode(text: str) -> Object:
    found: Object = codec.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found
