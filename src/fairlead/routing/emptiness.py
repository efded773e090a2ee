"""Why a Service has no endpoint at all, in the words of its own fields and of the pods that there are. Pure.

The mistakes that leave a Service empty without anything being wrong with an object of its own: a selector that no pod
fits, and a targetPort by a name that no container has. What is merely not ready yet is not said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.api import selectors

Object = dict[str, Any]


def reason(service: Object, pods: Iterable[Object]) -> str:
    """A sentence, or "" where nothing of this is the matter. `pods` are those of the Service's namespace."""
    spec = service.get("spec") or {}
    wanted = spec.get("selector")
    if spec.get("type") == "ExternalName":
        return ""
    if not wanted:
        return "spec.selector is missing: only EndpointSlices that you write give it endpoints"
    everyone = list(pods)
    selector = selectors.from_labels(wanted)
    mine = [pod for pod in everyone if selector.matches(pod["metadata"].get("labels"))]
    if not mine:
        return f"spec.selector {_text(wanted)} fits no pod{_instead(wanted, everyone)}"
    return _missing_port(spec, mine)


def _missing_port(spec: Object, mine: list[Object]) -> str:
    names = {str(port["name"]) for pod in mine for port in _ports(pod) if port.get("name")}
    for index, port in enumerate(spec.get("ports") or ()):
        target = port.get("targetPort")
        if isinstance(target, str) and target not in names:
            has = f"they have {', '.join(sorted(names))}" if names else "their ports have no names"
            return f"spec.ports[{index}].targetPort: no container of its pods has a port named {target!r} ({has})"
    return ""


def _ports(pod: Object) -> Iterable[Mapping[str, Any]]:
    spec = pod.get("spec") or {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        yield from container.get("ports") or ()


def _instead(wanted: Mapping[str, str], everyone: list[Object]) -> str:
    """The labels of that key that pods do have."""
    known = {
        f"{key}={labels[key]}" for pod in everyone for labels in [pod["metadata"].get("labels") or {}]
        for key in wanted if key in labels
    }  # fmt: skip
    if known:
        return f"; pods of this namespace have {', '.join(sorted(known)[:5])}"
    return "" if everyone else "; its namespace has none"


def _text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
