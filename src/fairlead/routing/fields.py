"""What becomes of a request's and an answer's header fields: changes of Routes and Backends, and the CORS protocol.

Pure, and only about fields that a Route touches: a name (in lower case) and the values that it then has; none is a
field that is taken out. The CORS part is the Fetch standard's, as Gateway API's filter says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fairlead.routing import table

Fields = Mapping[str, tuple[str, ...]]


def changed(before: Fields, changes: Iterable[table.HeaderChanges | None]) -> dict[str, tuple[str, ...]]:
    """The fields that the changes touch, one after the other."""
    found: dict[str, tuple[str, ...]] = {}
    for one in changes:
        for name in one.remove if one else ():
            found[name.lower()] = ()
        for name, value in one.set if one else ():
            found[name.lower()] = (value,)
        for name, value in one.add if one else ():
            key = name.lower()
            found[key] = (*found.get(key, before.get(key, ())), value)
    return found


def preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request asks what the one after it may do."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def cors(policy: table.Cors, method: str, headers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What the answer says to the request's origin; nothing to one that is not allowed."""
    origin = headers.get("origin")
    allowed = next(
        (one for one in policy.allow_origins if origin is not None and _fits(one, origin, policy.one_label)), None
    )
    if origin is None or allowed is None:
        return {}
    every = allowed == "*" and not policy.allow_credentials
    said = {"access-control-allow-origin": "*" if every else origin}
    if not every:
        said["vary"] = "Origin"
    if policy.allow_credentials:
        said["access-control-allow-credentials"] = "true"
    if preflight(method, headers):
        said["access-control-allow-methods"] = _listed(policy.allow_methods, headers["access-control-request-method"])
        if listed := _listed(policy.allow_headers, headers.get("access-control-request-headers")):
            said["access-control-allow-headers"] = listed
        said["access-control-max-age"] = str(policy.max_age_seconds)
    elif policy.expose_headers:
        said["access-control-expose-headers"] = ", ".join(policy.expose_headers)
    return {name: (value,) for name, value in said.items()}


def _listed(names: tuple[str, ...], asked: str | None) -> str:
    return asked if names == ("*",) and asked is not None else ", ".join(names)


def _fits(pattern: str, origin: str, one_label: bool) -> bool:
    front, star, back = pattern.partition("*")
    if not star:
        return pattern.lower() == origin.lower()
    if len(origin) < len(front) + len(back) or not origin.startswith(front) or not origin.endswith(back):
        return False
    between = origin[len(front) : len(origin) - len(back)]
    return not one_label or pattern == "*" or re.fullmatch("[A-Za-z0-9-]+", between) is not None
