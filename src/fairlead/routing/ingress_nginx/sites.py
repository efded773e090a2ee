"""All nginx-class Ingresses, gathered by host as ingress-nginx gathers them into servers.

Promises, as its documentation and users have it: Ingresses of a host share it, oldest first; of two equal paths the
oldest has it and the other is told; `use-regex` or a rewrite on one Ingress makes all paths of its host regular
expressions; a host without a path / answers there with its first Ingress's default backend, or 404; canary Ingresses
are joined to the equal path of the host's main ones. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import hosts
from fairlead.routing.ingress_nginx import catalogue, pattern

Object = dict[str, Any]
KINDS = ("Exact", "Prefix", "ImplementationSpecific")


@dataclass(frozen=True, slots=True)
class Source:
    """One Ingress, parsed. `order` rises with its age; `locations` are its paths by host."""

    namespace: str
    name: str
    order: int
    spec: Object
    words: catalogue.Words
    locations: Mapping[str, Sequence[Location]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def object(self) -> str:
        return f"Ingress/{self.key}"

    def has_tls(self, host: str) -> bool:
        """Whether spec.tls covers the host."""
        return any(not entry.get("hosts") or host in entry["hosts"] for entry in self.spec.get("tls") or ())


@dataclass(frozen=True, slots=True)
class Location:
    """One path of a host. `backend` is the Ingress's own reference; None answers 404."""

    source: Source
    rule: str  # for ids: RULE/PATH, or default
    place: str  # the field path, for messages
    path: str
    kind: str
    backend: Object | None
    default: bool = False


@dataclass
class Site:
    """One host; "" is every host that no other site has."""

    host: str
    first: Source
    locations: list[Location] = field(default_factory=list)
    canaries: dict[tuple[str, str], Location] = field(default_factory=dict)
    tls: bool = False
    aliases: list[str] = field(default_factory=list)
    www: str = ""  # the host that is redirected to this one

    @property
    def certified(self) -> Source | None:
        """The first Ingress that asks for client certificates, which ingress-nginx asks for at the whole host."""
        asking = (one.source for one in self.locations if "auth-tls-secret" in one.source.words)
        return next(asking, None)

    @property
    def regex(self) -> bool:
        """Whether all paths are regular expressions, matched without regard to case."""
        return any(_asks_for_regex(location) for location in self.locations)


def rewrites(location: Location) -> bool:
    """Whether the location changes the path."""
    return bool(location.source.words.get("rewrite-target", location.path) != location.path)


def _asks_for_regex(location: Location) -> bool:
    return rewrites(location) or bool(location.source.words.get("use-regex"))


def at_host(
    host: str, sources: Sequence[Source], *, aliases: Sequence[str], www: str
) -> tuple[Site | None, list[Problem]]:
    """The site of a host, from its Ingresses, oldest first; None where they are all canaries."""
    main = [source for source in sources if not source.words.get("canary")]
    gathering = _Gathering(Site(host, main[0], aliases=list(aliases), www=www) if main else None)
    for source in main:
        gathering.add(host, source)
    for source in sources:
        if source.words.get("canary"):
            gathering.add_canary(host, source)
    return gathering.site, gathering.problems


class _Gathering:
    """What is gathered so far."""

    def __init__(self, site: Site | None) -> None:
        self.site = site
        self.problems: list[Problem] = []

    def add(self, host: str, source: Source) -> None:
        """A main Ingress."""
        assert self.site is not None
        if not host and not source.spec.get("rules") and source.spec.get("defaultBackend"):
            self._add_location(self.site, _default(source))
        for location in source.locations.get(host, ()):
            self._add_location(self.site, location)
        self.site.tls = self.site.tls or source.has_tls(host)

    def _add_location(self, site: Site, location: Location) -> None:
        for known in site.locations:
            if (known.path, known.kind) == (location.path, location.kind):
                what = f"{site.host or 'every host'}{location.path} already belongs to {known.source.object}"
                self._tell(location, "Conflict", what + ("" if known.source is location.source else ", which is older"))
                return
        site.locations.append(location)

    def add_canary(self, host: str, source: Source) -> None:
        """A canary Ingress: each of its paths joins the equal path of a main one."""
        if not _is_canary(source.words):
            return
        for location in source.locations.get(host, ()):
            site, key = self.site, (location.path, location.kind)
            if site is None or key not in {(one.path, one.kind) for one in site.locations}:
                what = f"no Ingress that is no canary has {host or 'every host'}{location.path} ({location.kind})"
                self._tell(location, "NoMainIngress", what)
            elif key in site.canaries:
                what = f"{host}{location.path} already has the canary {site.canaries[key].source.object}"
                self._tell(location, "Conflict", what)
            else:
                site.canaries[key] = location

    def _tell(self, location: Location, reason: str, message: str) -> None:
        self.problems.append(Problem(location.source.object, location.place, reason, message))


def finish(site: Site) -> None:
    """A host without a path / answers there with its first Ingress's default backend, or 404."""
    if site.host and not any(one.path == "/" and one.kind != "Exact" for one in site.locations):
        site.locations.append(_default(site.first))


@dataclass
class Names:
    """Aliases and www hosts, which belong to nobody else: these need to know all hosts."""

    aliases: dict[str, list[str]] = field(default_factory=dict)
    www: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def asks_for_names(source: Source) -> bool:
    """Whether an Ingress wants hosts besides those of its rules."""
    return "server-alias" in source.words or bool(source.words.get("from-to-www-redirect"))


def names(sources: Iterable[Source]) -> Names:
    """By the hosts that have them, from all Ingresses, oldest first."""
    found, those = Names(), [source for source in sources if not source.words.get("canary")]
    asking = [one for one in those if asks_for_names(one)]
    if not asking:
        return found
    taken = {host for source in those for host in source.locations}
    for source in asking:
        for host in filter(None, source.locations):
            _add_aliases(found, host, source, taken)
            other = host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"
            asked = source.words.get("from-to-www-redirect") and host not in found.www and not host.startswith("*")
            if asked and other not in taken:
                taken.add(other)
                found.www[host] = other
    return found


def _add_aliases(found: Names, host: str, source: Source, taken: set[str]) -> None:
    for alias in source.words.get("server-alias", ()):
        if alias in found.aliases.get(host, ()):
            continue  # another Ingress of the same host says the same
        if alias in taken:
            path = f"metadata.annotations[{catalogue.PREFIX}server-alias]"
            found.problems.append(Problem(source.object, path, "Conflict", f"{alias} is already a host or an alias"))
            continue
        taken.add(alias)
        found.aliases.setdefault(host, []).append(alias)


def _is_canary(words: catalogue.Words) -> bool:
    return any(name in words for name in ("canary-weight", "canary-by-header", "canary-by-cookie"))


def _default(source: Source) -> Location:
    backend = source.spec.get("defaultBackend")
    return Location(source, "default", "spec.defaultBackend", "/", "Prefix", backend, default=True)


def parse(namespace: str, name: str, order: int, spec: Object, words: catalogue.Words) -> tuple[Source, list[Problem]]:
    """An Ingress with its paths by host, and what is wrong with it by itself."""
    by_host: dict[str, list[Location]] = {}
    source, problems = Source(namespace, name, order, spec, words, by_host), list(words.problems)
    if words.get("canary") and not _is_canary(words):
        what = "a canary needs canary-weight, -by-header or -by-cookie"
        problems.append(Problem(source.object, "metadata.annotations", "InvalidCanary", what))
    for index, rule in enumerate(spec.get("rules") or ()):
        host = str(rule.get("host") or "").lower()
        if hosts.mistake(host):
            continue
        found = by_host.setdefault(host, [])
        for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            place = f"spec.rules[{index}].http.paths[{number}]"
            value, kind = str(path.get("path") or "/"), path.get("pathType") or "ImplementationSpecific"
            if mistake := _mistake(value, kind):
                problems.append(Problem(source.object, f"{place}.path", "InvalidPath", mistake))
                continue
            found.append(Location(source, f"{index}/{number}", place, value, kind, path.get("backend") or {}))
    return source, problems


def _mistake(path: str, kind: object) -> str:
    if kind not in KINDS:
        return f"{kind!r} is not one of {', '.join(KINDS)}"
    if not path.startswith("/"):
        return f"{path!r} must begin with /"
    if len(path) > pattern.MAX_LENGTH:
        return f"is longer than {pattern.MAX_LENGTH} characters"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return "contains a control character"
    return ""
