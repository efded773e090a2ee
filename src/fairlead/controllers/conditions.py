"""`status.conditions` as lists: read one, set one without touching its times when nothing changed."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.base import clock as clocks
from fairlead.controllers.writes import Object


def find(obj_or_status: Object, type_: str) -> Object | None:
    """The condition of that type in an object or in a status."""
    status = obj_or_status.get("status", obj_or_status)
    status = status if isinstance(status, dict) else {}
    for condition in status.get("conditions") or ():
        if condition["type"] == type_:
            return dict(condition)
    return None


def put(
    conditions: Sequence[Object],
    *,
    type_: str,
    status: str,
    reason: str,
    message: str,
    now: float,
    updates: bool = False,
) -> list[Object]:
    """The list with that condition. `lastTransitionTime` moves when the status does; with `updates` (Deployments) there
    is a `lastUpdateTime`, too, and a condition whose status and reason stay is left as it is."""
    old = next((entry for entry in conditions if entry["type"] == type_), None)
    if old is not None and updates and (old["status"], old.get("reason")) == (status, reason):
        return list(conditions)
    stamp = clocks.rfc3339(now)
    since = old["lastTransitionTime"] if old is not None and old["status"] == status else stamp
    new: Object = {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}
    if updates:
        new["lastUpdateTime"] = stamp
    if old is None:
        return [*conditions, new]
    return [new if entry["type"] == type_ else entry for entry in conditions]


def without(conditions: Sequence[Object], type_: str) -> list[Object]:
    return [entry for entry in conditions if entry["type"] != type_]


def same_status(old: Object | None, new: Object) -> bool:
    """Whether two statuses say the same; zero, empty and absent are one."""
    return _said(old or {}) == _said(new)


def _said(status: Object) -> Object:
    return {name: value for name, value in status.items() if value not in (0, "", None, [], {})}
