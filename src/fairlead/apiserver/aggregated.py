"""Groups of resources that somebody else in this process answers for, behind the same authentication and authorization.

What Kubernetes does with an APIService and a server of its own (metrics-server) is a function here. Mounted groups are
read only: other verbs are 405. Discovery lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fairlead.apiserver import requests, status
from fairlead.client import exchange

Object = dict[str, Any]


class Aggregated(Protocol):
    """One group. `resources` are entries of an APIResourceList."""

    group: str
    versions: Sequence[str]

    def resources(self, version: str) -> list[Object]: ...

    async def __call__(self, request: exchange.Request) -> exchange.Response: ...


Mounted = dict[str, Aggregated]


async def answer(mounted: Mounted, info: requests.Info) -> exchange.Response | None:
    """The answer of a mounted group; None when the request is about no such group."""
    found = mounted.get(info.group)
    if found is None or not info.resource:
        return None
    if info.version not in found.versions:
        raise status.no_such_path()
    if info.method not in ("GET", "HEAD") or info.verb == "watch":
        raise status.method_not_allowed()
    query = tuple((name, value) for name, values in info.query.items() for value in values)
    return await found(exchange.Request("GET", info.path, query, info.headers, b"", info.identity))


def entry(resource: Object, group: str, version: str) -> Object:
    """An APIResourceList's entry as aggregated discovery shows it."""
    found = {
        "resource": resource["name"],
        "responseKind": {"group": group, "version": version, "kind": resource["kind"]},
        "scope": "Namespaced" if resource["namespaced"] else "Cluster",
        "singularResource": resource.get("singularName", ""),
        "verbs": resource["verbs"],
    }
    return found | ({"shortNames": resource["shortNames"]} if "shortNames" in resource else {})
