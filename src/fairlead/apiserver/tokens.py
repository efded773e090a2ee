"""ServiceAccount tokens: JWTs signed with the cluster's own key (ES256), bound to the account and, if asked, to a pod.

A token is good while it has not expired, its account has the same uid, and the pod it is bound to is still there.
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

from fairlead.api.kinds import POD
from fairlead.apiserver import authentication, codec, requests, status
from fairlead.base import clock as clocks
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
ISSUER = "https://kubernetes.default.svc.cluster.local"
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

    def _private_key(self) -> Any:
        if self._key is None:
            from cryptography.hazmat.primitives import serialization

            self._key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        return self._key

    def request(self, info: requests.Info) -> Object:
        """Answers a TokenRequest about the account that the path names. Raises ApiError."""
        account = self._object("serviceaccounts", info.namespace, info.name)
        if account is None:
            from fairlead.api.kinds import SERVICE_ACCOUNT

            raise status.not_found(SERVICE_ACCOUNT, info.name)
        body = codec.parse(info.body, info.headers.get("content-type", "")) if info.body else {}
        if not isinstance(body, dict) or not isinstance(body.get("spec") or {}, dict):
            raise status.bad_request("the object provided is unrecognized (must be of type TokenRequest)")
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or DEFAULT_SECONDS
        if not isinstance(seconds, int) or not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            detail = "may not specify a duration less than 10 minutes" if seconds < LEAST_SECONDS else "is too long"
            raise status.failure(422, "Invalid", f"spec.expirationSeconds: Invalid value: {seconds}: {detail}")
        audiences = [str(one) for one in spec.get("audiences") or [ISSUER]]
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
            about |= self._bound(metadata["namespace"], bound)
        subject = f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}"
        claims: Object = {"aud": audiences, "exp": end, "iat": now, "nbf": now, "iss": ISSUER, "sub": subject}
        return {**claims, "jti": secrets.token_hex(16), "kubernetes.io": about}

    def _bound(self, namespace: str, bound: Any) -> Object:
        if not isinstance(bound, dict) or bound.get("kind") != "Pod":
            raise status.bad_request("spec.boundObjectRef: only tokens bound to a Pod are made here")
        pod = self._object("pods", namespace, str(bound.get("name", "")))
        if pod is None:
            raise status.not_found(POD, str(bound.get("name", "")))
        if bound.get("uid") not in (None, "", pod["metadata"]["uid"]):
            raise status.conflict(POD, pod["metadata"]["name"], "the UID in the bound object reference does not match")
        return {"pod": {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}

    def _object(self, bucket: str, namespace: str, name: str) -> Object | None:
        entry = self._store.get(f"{bucket}/{namespace}/{name}")
        return codec.decode(entry.value) if entry else None

    def _sign(self, claims: Object) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        text = f"{_encode({'alg': 'ES256', 'typ': 'JWT'})}.{_encode(claims)}"
        signature = self._private_key().sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        first, second = utils.decode_dss_signature(signature)
        raw = first.to_bytes(32, "big") + second.to_bytes(32, "big")
        return f"{text}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"

    def read(self, token: str) -> exchange.Identity | None:
        """Who a token speaks for; None for one that is not good."""
        claims = self._known.get(token)
        if claims is None:
            claims = self._verified(token)
            if claims is None:
                return None
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[token] = claims
        return self._identity(claims)

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

    def _identity(self, claims: Object) -> exchange.Identity | None:
        now, about = self._clock.now(), claims.get("kubernetes.io")
        if not isinstance(about, dict) or claims.get("iss") != ISSUER or ISSUER not in claims.get("aud", ()):
            return None
        if not claims.get("nbf", 0) - 60 <= now < claims.get("exp", 0):
            return None
        namespace, account = about["namespace"], about["serviceaccount"]
        extra = {}
        for bucket, reference in (("serviceaccounts", account), ("pods", about.get("pod"))):
            if reference is None:
                continue
            known = self._object(bucket, namespace, reference["name"])
            if known is None or known["metadata"]["uid"] != reference["uid"]:
                return None
            if bucket == "pods":
                extra = {
                    "authentication.kubernetes.io/pod-name": (reference["name"],),
                    "authentication.kubernetes.io/pod-uid": (reference["uid"],),
                }
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", authentication.AUTHENTICATED)
        user = f"system:serviceaccount:{namespace}:{account['name']}"
        return exchange.Identity(user, groups, account["uid"], extra)


def _encode(value: Object) -> str:
    return base64.urlsafe_b64encode(codec.encode(value)).rstrip(b"=").decode()


def _decode(text: str) -> Object:
    found: Object = codec.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found
