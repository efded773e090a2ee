"""The columns of HorizontalPodAutoscalers: TARGETS shows each metric as current/target."""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.printing import ages, columns

Object = dict[str, Any]
UNKNOWN = "<unknown>"


def _source(metric: Object) -> Object:
    kind = metric.get("type", "")
    found: Object = metric.get(kind[:1].lower() + kind[1:]) or {}
    return found


def _shown(values: Object, target: Object) -> str:
    if target.get("averageUtilization") is not None:
        current = values.get("averageUtilization")
        return f"{UNKNOWN if current is None else f'{current}%'}/{target['averageUtilization']}%"
    if target.get("averageValue") is not None:
        return f"{values.get('averageValue', UNKNOWN)}/{target['averageValue']} (avg)"
    return f"{values.get('value', UNKNOWN)}/{target.get('value', UNKNOWN)}"


def _targets(obj: Object) -> str:
    wanted = (obj.get("spec") or {}).get("metrics") or []
    current = (obj.get("status") or {}).get("currentMetrics") or []
    shown = []
    for index, metric in enumerate(wanted[:2]):
        source = _source(metric)
        values = (_source(current[index]).get("current") or {}) if index < len(current) else {}
        name = f"{source.get('name')}: " if metric.get("type") in ("Resource", "ContainerResource") else ""
        text = _shown(values, source.get("target") or {})
        if metric.get("type") == "Pods":
            text = text.removesuffix(" (avg)")
        shown.append(name + text)
    more = f" + {len(wanted) - 2} more..." if len(wanted) > 2 else ""
    return ", ".join(shown) + more if wanted else "<none>"


def _cells(obj: Object, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    return [
        obj["metadata"]["name"],
        f"{target.get('kind')}/{target.get('name')}",
        _targets(obj),
        str(spec["minReplicas"]) if spec.get("minReplicas") is not None else "<unset>",
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        ages.age(obj, now),
    ]


PRINTER = columns.printer("Name Reference Targets MinPods MaxPods:integer Replicas:integer Age", _cells)
