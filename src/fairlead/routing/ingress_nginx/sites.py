"""All nginx-class Ingresses, gathered by host as ingress-nginx gathers them into servers.

Promises, as its documentation and users have it: Ingresses of a host share it, oldest first; of two equal paths the
oldest has it and the other is told; `use-regex` or a rewrite on one Ingress makes all paths of its host regular
expressions; a host without a path / answers there with its first Ingress's default backend, or 404; canary Ingresses
are joined to the equal path of the host's main ones. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import hosts
from fairlead.routing.ingress_nginx import catalogue, pattern

Object = dict[str, Any]
KINDS = ("Exact", "Prefix", "ImplementationSpecific")


@dataclass(frozen=True, slots=True)
class Source:
    """One Ingress, parsed. `order` is its place among all Ingresses, oldest first."""

    namespace: str
    name: str
    order: int
    spec: Object
    words: catalogue.Words

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
    def regex(self) -> bool:
        """Whether all paths are regular expressions, matched without regard to case."""
        return any(_asks_for_regex(location) for location in self.locations)


def rewrites(location: Location) -> bool:
    """Whether the location changes the path."""
    return bool(location.source.words.get("rewrite-target", location.path) != location.path)


def _asks_for_regex(location: Location) -> bool:
    return rewrites(location) or bool(location.source.words.get("use-regex"))


def gather(sources: Sequence[Source]) -> tuple[dict[str, Site], list[Problem]]:
    """The sites, and what could not be had."""
    gathering = _Gathering()
    for source in sources:
        if not source.words.get("canary"):
            gathering.add(source)
    for source in sources:
        if source.words.get("canary"):
            gathering.add_canary(source)
    gathering.finish()
    return gathering.sites, gathering.problems


class _Gathering:
    """What is gathered so far."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.problems: list[Problem] = []
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """A main Ingress: its hosts and paths."""
        self._sources.append(source)
        rules = _list(source.spec, "rules")
        if not rules and source.spec.get("defaultBackend"):
            self._add_location(self._site("", source), _default(source))
        for location, host in _locations(source, self.problems):
            self._add_location(self._site(host, source), location)
        for index, rule in enumerate(rules):
            host = _host(rule)
            if mistake := hosts.mistake(host):
                self.problems.append(Problem(source.object, f"spec.rules[{index}].host", "InvalidHost", mistake))
                continue
            site = self._site(host, source)
            site.tls = site.tls or source.has_tls(host)

    def _site(self, host: str, source: Source) -> Site:
        return self.sites.setdefault(host, Site(host, source))

    def _add_location(self, site: Site, location: Location) -> None:
        for known in site.locations:
            if (known.path, known.kind) == (location.path, location.kind):
                what = f"{site.host or 'every host'}{location.path} already belongs to {known.source.object}"
                self._tell(location, "Conflict", what + ("" if known.source is location.source else ", which is older"))
                return
        site.locations.append(location)

    def add_canary(self, source: Source) -> None:
        """A canary Ingress: each of its paths joins the equal path of a main one."""
        if not any(name in source.words for name in ("canary-weight", "canary-by-header", "canary-by-cookie")):
            path = "metadata.annotations"
            self.problems.append(
                Problem(source.object, path, "InvalidCanary", "a canary needs canary-weight, -by-header or -by-cookie")
            )
            return
        for location, host in _locations(source, self.problems):
            site, key = self.sites.get(host), (location.path, location.kind)
            if site is None or key not in {(one.path, one.kind) for one in site.locations}:
                what = f"no Ingress that is no canary has {host or 'every host'}{location.path} ({location.kind})"
                self._tell(location, "NoMainIngress", what)
            elif key in site.canaries:
                what = f"{host}{location.path} already has the canary {site.canaries[key].source.object}"
                self._tell(location, "Conflict", what)
            else:
                site.canaries[key] = location

    def finish(self) -> None:
        """Default locations, aliases and www hosts; each needs to know all sites."""
        taken = set(self.sites)
        for source in self._sources:
            own = dict.fromkeys(_host(rule) for rule in _list(source.spec, "rules"))
            for site in [self.sites[host] for host in own if host and host in self.sites]:
                self._add_aliases(site, source, taken)
                self._add_www(site, source, taken)
        for site in self.sites.values():
            if not any(location.path == "/" and location.kind != "Exact" for location in site.locations) and site.host:
                site.locations.append(_default(site.first))

    def _add_aliases(self, site: Site, source: Source, taken: set[str]) -> None:
        for alias in source.words.get("server-alias", ()):
            if alias in taken:
                path = f"metadata.annotations[{catalogue.PREFIX}server-alias]"
                self.problems.append(Problem(source.object, path, "Conflict", f"{alias} is already a host or an alias"))
                continue
            taken.add(alias)
            site.aliases.append(alias)

    def _add_www(self, site: Site, source: Source, taken: set[str]) -> None:
        if not source.words.get("from-to-www-redirect") or site.www or site.host.startswith("*"):
            return
        other = site.host.removeprefix("www.") if site.host.startswith("www.") else f"www.{site.host}"
        if other not in taken:
            taken.add(other)
            site.www = other

    def _tell(self, location: Location, reason: str, message: str) -> None:
        self.problems.append(Problem(location.source.object, location.place, reason, message))


def _default(source: Source) -> Location:
    backend = source.spec.get("defaultBackend")
    return Location(source, "default", "spec.defaultBackend", "/", "Prefix", backend, default=True)


def _host(rule: Object) -> str:
    return str(rule.get("host") or "").lower()


def _list(parent: Object | None, name: str) -> list[Object]:
    return list((parent or {}).get(name) or ())


def _locations(source: Source, problems: list[Problem]) -> list[tuple[Location, str]]:
    found = []
    for index, rule in enumerate(_list(source.spec, "rules")):
        host = _host(rule)
        if hosts.mistake(host):
            continue
        for number, path in enumerate(_list(rule.get("http"), "paths")):
            place = f"spec.rules[{index}].http.paths[{number}]"
            value, kind = str(path.get("path") or "/"), path.get("pathType") or "ImplementationSpecific"
            mistake = _mistake(value, kind)
            if mistake:
                problems.append(Problem(source.object, f"{place}.path", "InvalidPath", mistake))
                continue
            found.append((Location(source, f"{index}/{number}", place, value, kind, path.get("backend") or {}), host))
    return found


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
