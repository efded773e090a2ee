"""Kinds of Kubernetes that fairlead does not offer, so that whoever asks hears why instead of "no matches for kind".

They are in discovery and always empty; writing one is 405 with the reason. Refused so: what would have a say in every
request (webhooks, admission policies), API servers of other processes, and certificates signed on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.apiserver import codec, requests, status
from fairlead.client import exchange

Object = dict[str, Any]

_WEBHOOKS = "admission webhooks are not offered by fairlead: no other process has a say in a request"
_POLICIES = (
    "admission policies are not offered by fairlead; rules for custom resources belong into their definition "
    "(x-kubernetes-validations)"
)
_SERVERS = (
    "aggregated API servers are not offered by fairlead; metrics.k8s.io, custom.metrics.k8s.io and "
    "external.metrics.k8s.io are its own"
)
_CERTIFICATES = (
    "fairlead signs no certificates on request; identities are ServiceAccount tokens (kubectl create token) and client "
    "certificates of the cluster's own CA"
)


_SHORT = {"certificatesigningrequests": "csr"}


class Group:
    """One group whose kinds are refused: kind and plural -> why."""

    def __init__(self, group: str, kinds: dict[tuple[str, str], str]) -> None:
        self.group = group
        self.versions: Sequence[str] = ("v1",)
        self._kinds = {plural: (kind, reason) for (kind, plural), reason in kinds.items()}

    def resources(self, version: str) -> list[Object]:
        """Entries of an APIResourceList."""
        return [
            {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": False,
                "kind": kind,
                "verbs": ["create", "get", "list"],
                **({"shortNames": [_SHORT[plural]]} if plural in _SHORT else {}),
            }
            for plural, (kind, _) in self._kinds.items()
        ]

    def check(self, info: requests.Info) -> None:
        """Raises ApiError for a write of one of these kinds."""
        found = self._kinds.get(info.resource)
        if found is not None and info.method not in ("GET", "HEAD", "DELETE"):
            raise status.method_not_allowed(found[1])

    async def __call__(self, request: exchange.Request) -> exchange.Response:
        """A read: there are none."""
        info = requests.read(request, request.identity or exchange.Identity(""))
        if info.resource not in self._kinds:
            raise status.no_such_path()
        kind, _ = self._kinds[info.resource]
        if info.name:
            details = {"name": info.name, "group": self.group, "kind": info.resource}
            text = f'{info.resource}.{self.group} "{info.name}" not found'
            raise status.failure(404, "NotFound", text, details=details)
        found = {"kind": f"{kind}List", "apiVersion": f"{self.group}/v1", "metadata": {"resourceVersion": "1"}}
        return exchange.Response(200, {"content-type": "application/json"}, codec.encode({**found, "items": []}))


GROUPS = {
    made.group: made
    for made in (
        Group(
            "admissionregistration.k8s.io",
            {
                ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"): _WEBHOOKS,
                ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"): _WEBHOOKS,
                ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"): _POLICIES,
                ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"): _POLICIES,
                ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"): _POLICIES,
                ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"): _POLICIES,
            },
        ),
        Group("apiregistration.k8s.io", {("APIService", "apiservices"): _SERVERS}),
        Group("certificates.k8s.io", {("CertificateSigningRequest", "certificatesigningrequests"): _CERTIFICATES}),
    )
}
