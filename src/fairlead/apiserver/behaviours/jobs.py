"""Jobs select their pods by their own uid, unless `manualSelector` says that the writer takes care of it.

As Kubernetes' job strategy does, a new Job's selector and its template's labels are completed here, so that whoever
reads `spec.selector` (`kubectl logs job/NAME`, `describe`) finds that Job's pods and nobody else's. A selector or a
label of another Job's, as in a copy of an object that was read, is refused.
"""

from __future__ import annotations

from typing import Any

from fairlead.api import field_errors
from fairlead.apiserver.behaviours import base
from fairlead.apiserver.behaviours.simple import Simple

Object = dict[str, Any]
_UID = "batch.kubernetes.io/controller-uid"
_TEMPLATE = "spec.template.metadata.labels"


class Jobs(Simple):
    """The Simple behaviour of Jobs, with a generated selector."""

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        super().admit_create(obj, around)
        spec, metadata = obj["spec"], obj["metadata"]
        template = spec.get("template")
        if spec.get("manualSelector") or template is None:
            return
        own = _labels(metadata["uid"], metadata["name"])
        inner = template.setdefault("metadata", {})
        labels = inner["labels"] = {**own, **(inner.get("labels") or {})}
        spec.setdefault("selector", {}).setdefault("matchLabels", {}).setdefault(_UID, metadata["uid"])
        metadata.setdefault("labels", dict(labels))

    def validate(self, obj: Object) -> base.Problems:
        return super().validate(obj) + _selector_problems(obj)


def _labels(uid: str, name: str) -> dict[str, str]:
    return {_UID: uid, "batch.kubernetes.io/job-name": name, "controller-uid": uid, "job-name": name}


def _selector_problems(obj: Object) -> base.Problems:
    spec, metadata = obj["spec"], obj["metadata"]
    selector, template = spec.get("selector"), spec.get("template")
    if spec.get("manualSelector"):
        return [] if selector else [field_errors.required("spec.selector", "manualSelector is true")]
    if selector is None or template is None:  # a Job of before there were generated selectors
        return []
    labels = (template.get("metadata") or {}).get("labels") or {}
    own = _labels(metadata["uid"], metadata["name"])
    found = [
        field_errors.invalid(f"{_TEMPLATE}[{key}]", labels.get(key, ""), f"must be '{value}'")
        for key, value in own.items()
        if labels.get(key) != value
    ]
    if selector != {"matchLabels": {_UID: metadata["uid"]}}:
        found.append(field_errors.invalid("spec.selector", selector, "`selector` not auto-generated"))
    return found
