"""Namespaces: born Active with the finalizer `kubernetes`, gone when that is taken away through `finalize`."""

from __future__ import annotations

from typing import Any

from fairlead.api import names
from fairlead.apiserver.behaviours import base
from fairlead.client import exchange

Object = dict[str, Any]
PROTECTED = ("default", "kube-system", "kube-public")


class Namespaces(base.Behaviour):
    """`pkg/registry/core/namespace/strategy.go` and the NamespaceLifecycle admission plugin."""

    field_labels = ("status.phase",)

    def name_problem(self, name: str, *, prefix: bool) -> str:
        return names.label_problem(name.rstrip("-") + "a" if prefix else name)

    def default(self, obj: Object) -> None:
        labels = obj["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        obj["status"] = {"phase": "Active"}
        obj["spec"] = {"finalizers": ["kubernetes"]}

    def admit_update(self, obj: Object, old: Object, around: base.Surroundings) -> None:
        if "spec" in old:
            obj["spec"] = old["spec"]

    def deletion_refused(self, obj: Object, identity: exchange.Identity) -> str:
        return "this namespace may not be deleted" if obj["metadata"]["name"] in PROTECTED else ""
