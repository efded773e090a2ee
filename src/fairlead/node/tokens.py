"""Projected ServiceAccount tokens: asked of the API, kept until most of their life is over, then asked anew.

As the kubelet's token manager: a token is bound to its pod, and renewed when 80 % of its life is over or it is a day
old.
"""

from __future__ import annotations

from typing import Any

from fairlead.api import kinds
from fairlead.base import clock as clocks
from fairlead.client import errors, protocol
from fairlead.node import env

Object = dict[str, Any]
Key = tuple[str, str, str]  # pod's uid, audience, seconds
KIND = "Token"
_LONGEST_SECONDS = 24 * 3600.0
_SHARE = 0.8
_DEFAULT_SECONDS = 3600


class Tokens:
    """The tokens of the pods of one node."""

    def __init__(self, client: protocol.Client, *, clock: clocks.Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[Key, tuple[str, float]] = {}

    async def get(self, pod: Object, wanted: str) -> Object:
        """`{"token": ...}` for a reference made by `reference`. Raises EnvProblem."""
        meta, spec = pod["metadata"], pod["spec"]
        seconds, _, audience = wanted.partition(" ")
        key = (str(meta["uid"]), audience, seconds)
        known = self._known.get(key)
        if known is not None and self._clock.now() < known[1]:
            return {"token": known[0]}
        name = spec.get("serviceAccountName") or "default"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "spec": {
                "expirationSeconds": int(seconds),
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
                **({"audiences": [audience]} if audience else {}),
            },
        }
        try:
            answer = await self._client.create(
                kinds.SERVICE_ACCOUNT, body, namespace=meta["namespace"], subresource="token"
            )
        except errors.ApiError as error:
            why = f"failed to fetch token: {error}"
            raise env.EnvProblem(why) from error
        token = str(answer["status"]["token"])
        self._known[key] = (token, self._clock.now() + min(int(seconds) * _SHARE, _LONGEST_SECONDS))
        return {"token": token}

    def forget(self, uid: str) -> None:
        """That pod is gone."""
        for key in [key for key in self._known if key[0] == uid]:
            del self._known[key]


def reference(source: Object) -> env.Key:
    """What a `serviceAccountToken` source asks for, as a key among a pod's references."""
    seconds = source.get("expirationSeconds") or _DEFAULT_SECONDS
    return (KIND, f"{seconds} {source.get('audience') or ''}")
