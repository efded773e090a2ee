"""Why an HPA did what it did last: each metric, its samples, what it asked for, and what held it back. Pure.

Served as the group `explain.fairlead.dev`, one object per HPA, for `fairlead hpa explain NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairlead.controllers.autoscaling import decide, metrics, serving
from fairlead.controllers.writes import Object

GROUP, VERSION, KIND = "explain.fairlead.dev", "v1alpha1", "Explanation"
Explain = Callable[[str], Object | None]


def explain(
    hpa: Object, verdict: decide.Verdict, observations: Sequence[metrics.Observation], *, current: int, now: float
) -> Object:
    """Everything that went into the decision."""
    specs = decide.metrics_of(hpa["spec"])
    proposals = verdict.chosen.all or (None,) * len(specs)
    found = []
    for spec, proposal, seen in zip(specs, proposals, observations, strict=False):
        entry: Object = {"spec": spec, "samples": _samples(seen, now)}
        if seen.milli is not None:
            entry["value"] = seen.milli / 1000
        if proposal is not None and proposal.asked is not None:
            entry["asks"] = proposal.asked.replicas
            entry["name"] = proposal.name
        elif proposal is not None:
            entry["problem"] = proposal.problem
        found.append(entry)
    held = [one for one in verdict.status["conditions"] if _holds(one)]
    return {
        "metadata": {"namespace": hpa["metadata"]["namespace"], "name": hpa["metadata"]["name"]},
        "current": current,
        "decided": verdict.replicas,
        "reason": verdict.reason,
        "metrics": found,
        "heldBack": [f"{one['reason']}: {one['message']}" for one in held],
        "recommendations": [
            {"secondsAgo": round(now - at, 1), "replicas": replicas}
            for at, replicas in verdict.history.recommendations[-30:]
        ],
        "panicking": verdict.panic.until > now,
    }


def _samples(seen: metrics.Observation, now: float) -> Mapping[str, Object]:
    return {
        name: {"value": sample.milli / 1000, "secondsAgo": round(now - sample.at, 1)}
        for name, sample in sorted(seen.pods.items())
    }


def _holds(condition: Object) -> bool:
    if condition["type"] == "ScalingLimited":
        return bool(condition["status"] == "True")
    if condition["type"] == "AbleToScale":
        return bool(condition["status"] != "True" or condition["reason"].endswith("Stabilized"))
    return bool(condition["type"] == "DryRun" or condition["status"] == "False")


def text(found: Object) -> list[str]:
    """The explanation as lines for people."""
    change = f"stays at {found['current']}"
    if found["decided"] != found["current"]:
        change = f"{found['current']} -> {found['decided']} ({found['reason']})"
    lines = [f"replicas   {change}"]
    for entry in found["metrics"]:
        asks = f"asks for {entry['asks']}" if "asks" in entry else f"cannot tell: {entry.get('problem', 'not asked')}"
        lines.append(f"metric     {entry.get('name') or entry['spec']['type']}: {asks}")
        if "value" in entry:
            lines.append(f"             value {entry['value']:g}")
        for name, sample in entry["samples"].items():
            lines.append(f"             {name} {sample['value']:g}, {sample['secondsAgo']:g} s ago")
    lines += [f"held back  {reason}" for reason in found["heldBack"]]
    if found["panicking"]:
        lines.append("panicking  goes by the short window, and not down")
    return lines


def group(explanation_of: Explain) -> serving.Group:
    """What to mount in an API server."""

    def answer(path: list[str], query: Mapping[str, str]) -> Object:
        if len(path) != 4 or (path[0], path[2]) != ("namespaces", "horizontalpodautoscalers"):
            raise serving.not_found("the server could not find the requested resource")
        found = explanation_of(f"{path[1]}/{path[3]}")
        if found is None:
            raise serving.not_found(f'nothing has been decided about horizontalpodautoscaler "{path[3]}"')
        return {"kind": KIND, **found}

    resource = {"name": "horizontalpodautoscalers", "singularName": "", "namespaced": True, "kind": KIND}
    return serving.Group(GROUP, (VERSION,), [{**resource, "verbs": ["get"]}], answer)
