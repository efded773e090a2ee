"""metadata.managedFields: the managers of one object, and what an apply or an update makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fairlead.api import managed
from fairlead.api.managed import fields_v1, walk
from fairlead.api.schema import pack

Object = dict[str, Any]
BEFORE_FIRST_APPLY = "before-first-apply"
_STRIPPED: tuple[managed.Path, ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
            "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
        )
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry."""

    name: str
    operation: str
    version: str
    time: str
    fields: managed.FieldSet
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes an entry the same one."""
        return (self.name, self.operation, "" if self.operation == "Apply" else self.version, self.subresource)

    def encode(self) -> Object:
        """As the entry stands in metadata."""
        entry: Object = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.version,
            "time": self.time,
        }
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields_v1.encode(self.fields)}
        return entry | ({"subresource": self.subresource} if self.subresource else {})


@dataclass(frozen=True, slots=True)
class Conflict:
    """Fields that another manager owns and that the apply would change."""

    manager: Manager
    paths: tuple[managed.Path, ...]


def decode(entries: Iterable[Object] | None) -> list[Manager]:
    """The managers that an object names."""
    return [
        Manager(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            entry.get("time", ""),
            fields_v1.decode(entry.get("fieldsV1")), entry.get("subresource", ""),
        )
        for entry in entries or ()
    ]  # fmt: skip


def owned(obj: Object, schema: pack.Schema, *, without: tuple[str, ...] = ()) -> dict[managed.Path, Any]:
    """Leaves of an object that somebody can own. `without` are top-level fields that this endpoint resets."""
    found = walk.leaves(obj, schema)
    skipped = {f"f:{field}" for field in without}
    return {
        path: value
        for path, value in found.items()
        if path[0] not in skipped and path not in _STRIPPED and path[:2] not in _STRIPPED
    }


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply comes to. With conflicts, `obj` is what forcing them would make."""

    obj: Object
    managers: list[Manager]
    conflicts: list[Conflict]


def apply(
    live: Object | None,
    wanted: Object,
    known: list[Manager],
    me: Manager,
    schema: pack.Schema,
    *,
    without: tuple[str, ...] = (),
) -> Applied:
    """Merges `wanted` into the live object as manager `me` (whose fields are filled in)."""
    mine = owned(wanted, schema, without=without)
    me = replace(me, fields=frozenset(mine))
    if live is None:
        return Applied(wanted, [me], [])
    others = [manager for manager in known if manager.key != me.key]
    before = next((manager.fields for manager in known if manager.key == me.key), frozenset())
    merged = walk.merge(live, _without(wanted, without), schema)
    elsewhere = {path for manager in others for path in manager.fields}
    gone = {path for path in before - me.fields if not _kept(path, elsewhere, me.fields)}
    values = owned(live, schema)
    gone |= _wholly_gone(gone, before, me.fields | elsewhere, values, schema)
    merged = walk.remove(merged, gone, schema)
    changed = {
        path for path, value in mine.items() if value is not walk.ITEM and values.get(path, ITEM_MISSING) != value
    }
    conflicts = [
        Conflict(manager, tuple(sorted(manager.fields & changed))) for manager in others if manager.fields & changed
    ]
    left = [replace(manager, fields=manager.fields - changed - gone) for manager in others]
    return Applied(merged, [*(manager for manager in left if manager.fields), me], conflicts)


ITEM_MISSING = object()


def _without(obj: Object, fields: tuple[str, ...]) -> Object:
    return {key: value for key, value in obj.items() if key not in fields}


def _kept(path: managed.Path, elsewhere: set[managed.Path], mine: managed.FieldSet) -> bool:
    """True when somebody else owns the path or something inside it, or I still own something inside it."""
    if path in elsewhere:
        return True
    size = len(path)
    return any(other[:size] == path for other in elsewhere) or any(other[:size] == path for other in mine)


def _wholly_gone(
    gone: set[managed.Path],
    before: managed.FieldSet,
    still: set[managed.Path] | managed.FieldSet,
    live: dict[managed.Path, Any],
    schema: pack.Schema,
) -> set[managed.Path]:
    """Objects of which nothing is applied any more and nobody else owns a part: they go with their defaults, which
    nobody owns, or a probe could never be removed, nor a volume change its type. Keys of maps and elements of lists
    that were not mine stay, and top-level fields (kubernetes/kubernetes#99037)."""
    found: set[managed.Path] = set()
    for path in gone:
        for size in range(2, len(path)):
            part = path[:size]
            if part in found:
                break
            if not walk.named(schema, part)[-1] or any(other[:size] == part for other in still):
                continue
            defaults = (leaf for leaf in live if leaf[:size] == part and leaf not in before)
            if all(all(walk.named(schema, leaf)[size:]) for leaf in defaults):
                found.add(part)
                break
    return found


def update(
    live: Object, new: Object, known: list[Manager], me: Manager, schema: pack.Schema, *, without: tuple[str, ...] = ()
) -> list[Manager]:
    """The managers after `me` changed the live object to the new one by an update."""
    touched = {key for key in (*live, *new) if live.get(key, ITEM_MISSING) != new.get(key, ITEM_MISSING)}
    before, after = (
        owned({key: obj[key] for key in touched if key in obj}, schema, without=without) for obj in (live, new)
    )
    changed = {path for path, value in after.items() if before.get(path, ITEM_MISSING) != value}
    removed = {path for path in before if path not in after}
    if not changed and not removed:
        return known
    result, found = [], False
    for manager in known:
        if manager.key == me.key:
            found = True
            manager = replace(manager, fields=(manager.fields | changed) - removed, time=me.time)
        else:
            manager = replace(manager, fields=manager.fields - changed - removed)
        if manager.fields:
            result.append(manager)
    if not found and changed:
        result.append(replace(me, fields=frozenset(changed)))
    return result


def show(path: managed.Path) -> str:
    """A path as a conflict message shows it: `.spec.containers[name="main"].image`."""
    import json

    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        elif element.startswith("k:"):
            keys = json.loads(element[2:])
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(keys.items())) + "]"
        else:
            text += f"[={element[2:]}]"
    return text
