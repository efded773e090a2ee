"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, so that kubectl can show and undo them.
Pure.

`data` is the patch that `kubectl rollout undo` sends (`spec.template` with `$patch: replace`), as Kubernetes'
`pkg/controller/history` makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.controllers import ownership, writes
from fairlead.controllers.deployment import revisions
from fairlead.controllers.writes import Object

LABEL = "controller-revision-hash"
_HASH = "controller.kubernetes.io/hash"


@dataclass(frozen=True, slots=True)
class Found:
    """The revision of the present template (made, raised or as it was), the others, and what must be written."""

    update: Object
    others: tuple[Object, ...]
    writes: tuple[writes.Write, ...]


def find(kind: Kind, owner: Object, present: Sequence[Object]) -> Found:
    """Finds or makes the revision of the owner's present template; an old one that is used again becomes the newest."""
    ordered = sorted(present, key=_order)
    data = {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}
    newest = int(ordered[-1]["revision"]) if ordered else 0
    same = [one for one in ordered if one["data"] == data]
    if not same:
        made = _make(kind, owner, data, newest + 1)
        taken = any(one["metadata"]["name"] == made["metadata"]["name"] for one in ordered)
        assert not taken, "two templates have one hash"
        return Found(made, tuple(ordered), (writes.Create(kinds.CONTROLLER_REVISION, made),))
    update = same[-1]
    others = tuple(one for one in ordered if one is not update)
    if int(update["revision"]) == newest:
        return Found(update, others, ())
    raised = {**update, "revision": newest + 1}
    return Found(raised, others, (writes.Update(kinds.CONTROLLER_REVISION, raised),))


def _make(kind: Kind, owner: Object, data: Object, revision: int) -> Object:
    collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
    found = revisions.template_hash(owner["spec"]["template"], collisions)
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return {
        "metadata": {
            "name": f"{owner['metadata']['name']}-{found}",
            "namespace": owner["metadata"]["namespace"],
            "labels": {**labels, _HASH: found},
            "ownerReferences": [ownership.reference(kind, owner)],
        },
        "data": data,
        "revision": revision,
    }


def _order(one: Object) -> tuple[int, str, str]:
    return int(one["revision"]), str(one["metadata"].get("creationTimestamp") or ""), str(one["metadata"]["name"])


def template_of(revision: Object) -> Object:
    """The pod template that a revision stands for."""
    template = dict(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def name_of(revision: Object) -> str:
    return str(revision["metadata"]["name"])


def expired(found: Found, *, limit: int, live: set[str]) -> tuple[writes.Write, ...]:
    """Deletes the oldest revisions past the limit that no pod has and no status names."""
    idle = [one for one in found.others if name_of(one) not in live and "deletionTimestamp" not in one["metadata"]]
    return tuple(writes.delete(kinds.CONTROLLER_REVISION, one) for one in idle[: max(0, len(idle) - limit)])
