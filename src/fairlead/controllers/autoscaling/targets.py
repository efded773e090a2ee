"""What an HPA may scale: every kind with a `scale` subresource, built-in or custom, seen as its Scale.

A custom kind's replicas and selector are where its definition says (`specReplicasPath`, `statusReplicasPath`,
`labelSelectorPath`: CustomResourceDefinition v1). Refuses, in Kubernetes' words: kinds that are not known, objects that
are not there, scales without a selector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api import kinds, selectors
from fairlead.api.kinds import Kind
from fairlead.client import informer
from fairlead.controllers import context, runner
from fairlead.controllers.writes import Object


@dataclass(frozen=True, slots=True)
class Target:
    """One object as its Scale shows it."""

    kind: Kind
    object: Object
    replicas: int
    observed: int
    selector: selectors.Selector


class Targets:
    """Follows the kinds; `find` answers for one HPA."""

    def __init__(self, given: context.Context, scalable: Sequence[Kind]) -> None:
        self._shared = given.informers
        self._definitions = given.informers.of(kinds.CUSTOM_RESOURCE_DEFINITION)
        self._known = {(kind.group, kind.kind): given.informers.of(kind) for kind in scalable}
        self._runner: runner.Runner | None = None

    def informers(self) -> list[informer.Informer]:
        return list(self._known.values())

    def follow_in(self, one: runner.Runner) -> None:
        """That runner decides by what is known here, custom kinds that come later included."""
        self._runner = one

    def add(self, kind: Kind) -> None:
        """A custom kind has come."""
        if "scale" in kind.subresources:
            self._known[kind.group, kind.kind] = self._shared.of(kind)
            if self._runner is not None:
                self._runner.follow(self._known[kind.group, kind.kind])

    def remove(self, kind: Kind) -> None:
        """It is no more."""
        if self._known.pop((kind.group, kind.kind), None) is not None and self._runner is not None:
            self._runner.leave(kind)

    def find(self, reference: Object, namespace: str) -> Target | str:
        """The target, or why there is none."""
        group = reference.get("apiVersion", "").rpartition("/")[0]
        known = self._known.get((group, reference["kind"]))
        if known is None:
            return f'no matches for kind "{reference["kind"]}" in group "{reference.get("apiVersion", "")}"'
        found = known.cache.get(f"{namespace}/{reference['name']}")
        if found is None:
            return f'{known.kind} "{reference["name"]}" not found'
        paths = self._paths(known.kind)
        if paths is None:
            spec, status = found["spec"], found.get("status") or {}
            replicas = spec.get("replicas", 1)
            selector = selectors.from_object(spec.get("selector"))
        else:
            replicas = _at(found, paths["specReplicasPath"]) or 0
            selector = _parsed(_at(found, paths.get("labelSelectorPath") or ""))
            status = {"replicas": _at(found, paths["statusReplicasPath"])}
        return Target(known.kind, found, int(replicas), int(status.get("replicas") or 0), selector)

    def _paths(self, kind: Kind) -> Object | None:
        """Where a custom kind has its scale; None for a built-in one."""
        definition = self._definitions.cache.get(f"{kind.plural}.{kind.group}")
        for version in (definition or {}).get("spec", {}).get("versions", ()):
            if version["name"] == kind.version:
                scale: Object | None = (version.get("subresources") or {}).get("scale")
                return scale
        return None


def _at(obj: Object, path: str) -> Any:
    """The value at a path such as `.spec.replicas`; None where there is none."""
    found: Any = obj
    for part in filter(None, path.split(".")):
        found = found.get(part) if isinstance(found, dict) else None
    return found if path else None


def _parsed(text: Any) -> selectors.Selector:
    try:
        return selectors.parse(text) if isinstance(text, str) and text else selectors.NOTHING
    except selectors.SelectorError:
        return selectors.NOTHING
