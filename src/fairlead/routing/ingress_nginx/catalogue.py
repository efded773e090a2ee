"""The one table of all annotations that ingress-nginx documents, and the parse of an Ingress's by it.

Promises: each name is honoured, idle (accepted, without a meaning here) or refused with a reason; a name that is not in
the table is a Problem, too. One wrong value leaves the others alone; a wrong guard closes its Ingress's paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing.ingress_nginx import access_catalogue, backends_catalogue, routes_catalogue, values
from fairlead.routing.ingress_nginx.entry import Entry

PREFIX = "nginx.ingress.kubernetes.io/"
ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in routes_catalogue.ENTRIES + backends_catalogue.ENTRIES + access_catalogue.ENTRIES
}  # fmt: skip
#: names that ingress-nginx once had, and what does their work now
OBSOLETE: dict[str, str] = {
    "secure-backends": 'write backend-protocol: "HTTPS"',
    "grpc-backend": 'write backend-protocol: "GRPC"',
    "secure-verify-ca-secret": "write proxy-ssl-secret and proxy-ssl-verify",
    "session-cookie-hash": "remove it, no hash is chosen",
    "add-base-url": "remove it, answers are not rewritten",
    "base-url-scheme": "remove it, answers are not rewritten",
    "upstream-max-fails": "write proxy-next-upstream-tries",
    "upstream-fail-timeout": "write proxy-next-upstream-timeout",
    "enable-waf": "remove it",
    "lua-resty-waf": "remove it",
}
GONE = "ingress-nginx dropped it long ago and takes no notice of it"
#: the older names, and what they are called now
_ALIASES = {"whitelist-source-range": "allowlist-source-range", "limit-whitelist": "limit-allowlist"}


@dataclass(frozen=True, slots=True)
class Words:
    """An Ingress's annotations, typed, by their name without the prefix. `denied` says why its paths are closed."""

    values: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    denied: str = ""

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default."""
        return self.values.get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self.values


def parse(annotations: Mapping[str, Any], *, obj: str) -> Words:
    """The words of one Ingress."""
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    denied = ""
    for name, value in sorted(annotations.items()):
        if not name.startswith(PREFIX):
            continue
        problem, closes = _parse_one(found, name, value, obj)
        if problem is not None:
            problems.append(problem)
            denied = denied or (f"{problem.path}: {problem.message}" if closes else "")
    return Words(found, tuple(problems), denied)


def _parse_one(found: dict[str, Any], name: str, value: Any, obj: str) -> tuple[Problem | None, bool]:
    path = f"metadata.annotations[{name}]"
    entry = ENTRIES.get(name.removeprefix(PREFIX))
    if instead := OBSOLETE.get(name.removeprefix(PREFIX)):
        return Problem(obj, path, "ObsoleteAnnotation", f"{GONE}: {instead}"), False
    if entry is None:
        return Problem(obj, path, "UnknownAnnotation", "is not an annotation that ingress-nginx documents"), False
    return parse_value(found, entry, value, obj=obj, path=path), entry.guards


def parse_value(found: dict[str, Any], entry: Entry, value: Any, *, obj: str, path: str) -> Problem | None:
    """Adds one value by its entry; the Problem where it is refused or wrong. An empty value is none."""
    try:
        if entry.treatment == "refused":
            if str(value).strip() in (*entry.harmless, ""):
                return None
            return Problem(obj, path, "Refused", f"is refused: {entry.note}")
        text = values.plain(str(value))
        parsed = entry.parse(text) if text else None
    except values.Partly as error:
        found[_ALIASES.get(entry.name, entry.name)] = error.rest
        return Problem(obj, path, "InvalidValue", str(error))
    except ValueError as error:
        return Problem(obj, path, "InvalidValue", str(error))
    if parsed is not None and entry.treatment == "honoured":
        found[_ALIASES.get(entry.name, entry.name)] = parsed
    return None
