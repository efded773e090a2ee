"""Why a request or a connection goes where it goes: which rule matched, who was a candidate, who was left out and why.

Pure: reads a Translation and the slices, asks no plane. What only planes know (ejections, drains) is passed in `out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.routing import algorithms, carrier, endpoints, interpret, services, settings, table, translate


@dataclass(frozen=True, slots=True)
class BackendExplained:
    """One Backend: what it is, who may get the next connection, who not and why."""

    backend: str
    object: str
    weight: int
    carrier: str
    carrier_reason: str
    algorithm: str
    next: str  # what that means
    candidates: tuple[table.Endpoint, ...]
    left_out: tuple[endpoints.LeftOut, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `rejected` are other rules that matched, too, but have less right."""

    verdict: str
    rule: str = ""
    rejected: tuple[str, ...] = ()
    backends: tuple[BackendExplained, ...] = ()
    because: tuple[str, ...] = ()  # what is wrong with the objects that decided


def request(
    translation: translate.Translation,
    slices: Iterable[dict[str, Any]],
    *,
    listener: str,
    asked: interpret.HttpRequest,
    out: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> Explanation:
    """What happens to that HTTP request at that Listener. `refused`: what no plane took (`route/ID`), and why."""
    refused = refused or {}
    ranked = interpret.candidates(_with_closed(translation.structure, refused), listener, asked)
    if not ranked:
        hosts = sorted({host for route in translation.structure.routes.values() for host in route.hosts})
        return Explanation(f"404: no rule matches {asked.host}{asked.path}; hosts known: {', '.join(hosts) or 'none'}")
    best, groups = ranked[0], translate.group_slices(slices)
    explained = tuple(
        backend(translation, groups, one.backend, weight=one.weight, out=out or {}) for one in best.backends
    )
    others = tuple(f"{_title(route)}: {_against(best, route)}" for route in ranked[1:])
    if closed := refused.get(f"route/{best.id}"):
        because = (f"{_title(best)}: the engine refused it: {closed}",)
        return Explanation("answers 503, a closed door", _title(best), others, because=because)
    if best.redirect is not None:
        return Explanation(f"redirects with {best.redirect.status}", _title(best), others)
    if best.respond is not None:
        return Explanation(f"answers {best.respond.status}", _title(best), others, because=_wrong(translation, best))
    usable = any(one.candidates or translation.structure.backends[one.backend].resolve for one in explained)
    stale = tuple(
        f"the engine refused what {one.backend} has become, and keeps it as it was: {refused[name]}"
        for one in explained
        if (name := f"backend/{one.backend}") in refused
    )
    return Explanation("forwarded" if usable else "503: no endpoint", _title(best), others, explained, stale)


def _with_closed(structure: table.Structure, refused: Mapping[str, str]) -> table.Structure:
    """The table with its refused Routes as the engine has them: closed doors for all that they might have taken."""
    names = [name for name in structure.routes if f"route/{name}" in refused]
    if not names:
        return structure
    closed = {name: interpret.closed(structure.routes[name], refused[f"route/{name}"]) for name in names}
    return msgspec.structs.replace(structure, routes={**structure.routes, **closed})


def service(
    translation: translate.Translation,
    slices: Iterable[dict[str, Any]],
    *,
    name: str,
    out: Mapping[str, str] | None = None,
) -> Explanation:
    """All Backends of one Service (namespace/name)."""
    sources = translation.sources.get(name, ())
    if not sources:
        return Explanation(f"Service {name} has no address or port that is carried")
    groups = translate.group_slices(slices)
    explained = tuple(backend(translation, groups, one.backend, out=out or {}) for one in sources)
    return Explanation("carried", f"Service/{name}", (), explained)


def backend(
    translation: translate.Translation,
    groups: Mapping[str, Iterable[dict[str, Any]]],
    name: str,
    *,
    weight: int = 1,
    out: Mapping[str, str],
) -> BackendExplained:
    """One Backend. `out` says for addresses why a plane does not use them now."""
    known = translation.structure.backends[name]
    source = next((one for every in translation.sources.values() for one in every if one.backend == name), None)
    here = endpoints.Here(translation.settings.node, translation.settings.zone)
    choice = endpoints.Choice()  # a name outside the cluster: what it resolves to is the engine's to know
    if source is not None:
        choice = endpoints.choose(source, groups.get(source.service, ()), here=here)
    algorithm = known.algorithm or default_algorithm(known)
    usable = endpoints.serving(choice.endpoints)
    idle = [_left(e, "terminating; used only when no endpoint is ready") for e in choice.endpoints if e not in usable]
    ousted = [_left(e, out[e.address]) for e in usable if e.address in out]
    return BackendExplained(
        backend=name,
        object=known.info.object,
        weight=weight,
        carrier=services.carried_by(known, translation.settings),
        carrier_reason=_why_carried(known, translation.settings),
        algorithm=algorithm,
        next=algorithms.summary(algorithm, layer4=_layer4(known)),
        candidates=tuple(e for e in usable if e.address not in out),
        left_out=(*choice.left_out, *idle, *ousted),
    )


def default_algorithm(known: table.Backend) -> str:
    """What "" means: round robin at L4; least-request, round robin among equals, at L7."""
    return "round-robin" if _layer4(known) else "least-request"


def _layer4(known: table.Backend) -> bool:
    return known.protocol in ("tcp", "udp", "tls")


def _why_carried(backend: table.Backend, where: settings.Settings) -> str:
    if not where.kernel:
        return "loopback network"
    straight = where.connect_time and carrier.leads_straight(backend)
    return "local clients are led straight to an endpoint" if straight else carrier.reason_against_kernel(backend)


def _left(endpoint: table.Endpoint, reason: str) -> endpoints.LeftOut:
    return endpoints.LeftOut(endpoint.address, endpoint.port, endpoint.name, reason)


def _title(route: table.Route) -> str:
    return f"{route.info.object} {route.info.rule}".strip()


def _wrong(translation: translate.Translation, route: table.Route) -> tuple[str, ...]:
    """The Problems of the rule that made this Route, and of its object's annotations, which may have closed it."""
    mine = (one for one in translation.problems if one.object == route.info.object)
    return tuple(str(one) for one in mine if one.path.startswith(("metadata", route.info.rule)))


def _against(best: table.Route, other: table.Route) -> str:
    if best.hosts != other.hosts:
        return "its host is less specific"
    kinds = [route.match.path.type if route.match.path else "" for route in (best, other)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0] or 'a path'} comes before {kinds[1] or 'no path'}"
    values = [len(route.match.path.value) if route.match.path else 0 for route in (best, other)]
    return "its path is shorter" if values[0] > values[1] else "it is less specific or younger"
