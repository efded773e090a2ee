"""`meta.k8s.io` Tables: what `kubectl get` prints, with kubectl's own columns; PartialObjectMetadata.

Follows k8s.io/kubernetes `pkg/printers/internalversion`; kinds without columns of their own show NAME and AGE, custom
resources what their definition says.
"""

from __future__ import annotations

import time
from typing import Any

from fairlead.apiserver import requests, resources
from fairlead.apiserver.printing import ages, columns

Object = dict[str, Any]


def partial(obj: Object) -> Object:
    """An object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def table(
    resource: resources.Resource, objects: list[Object], revision: str, info: requests.Info, *, version: str
) -> Object:
    """The Table of some objects."""
    include = info.first("includeObject") or "Metadata"
    printer = columns.of(resource)
    now = time.time()
    rows = []
    for obj in objects:
        row: Object = {"cells": printer.cells(obj, now)}
        if include == "Metadata":
            row["object"] = {**partial(obj), "apiVersion": f"meta.k8s.io/{version}"}
        elif include == "Object":
            row["object"] = obj
        rows.append(row)
    definitions = [column.definition() for column in printer.columns]
    metadata = {"resourceVersion": revision}
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }


__all__ = ["ages", "partial", "table"]
