"""Each file of tests/golden/routing shows what some manifests become: table, endpoints, statuses, problems.

`FAIRLEAD_GOLDEN=write` writes what the translation says now; read the difference before you commit it.
"""

import os
import pathlib
from typing import Any

import msgspec
import pytest
import yaml

from fairlead.routing import settings, translate

FOLDER = pathlib.Path(__file__).parent.parent / "golden" / "routing"
KINDS = {
    "Service": "services",
    "EndpointSlice": "endpoint_slices",
    "Ingress": "ingresses",
    "IngressClass": "ingress_classes",
    "Secret": "secrets",
}


def snapshot_of(objects: list[dict[str, Any]]) -> translate.Snapshot:
    fields: dict[str, list[dict[str, Any]]] = {}
    for obj in objects:
        fields.setdefault(KINDS[obj["kind"]], []).append(obj)
    return translate.Snapshot(**fields)


def consequence(golden: dict[str, Any]) -> dict[str, Any]:
    """What the golden's objects become, without ids that repeat their key."""
    where = msgspec.convert(golden.get("settings") or {}, settings.Settings)
    snapshot = snapshot_of(golden["objects"])
    translation = translate.translate(snapshot, where)
    table = {
        section: {name: {k: v for k, v in one.items() if k != "id"} for name, one in content.items()}
        for section, content in msgspec.to_builtins(translation.structure).items()
        if content
    }
    sets = translate.all_endpoints(translation, snapshot.endpoint_slices)
    found = {
        "table": table,
        "endpoints": {one.backend: [msgspec.to_builtins(e) for e in one.endpoints] for one in sets},
        "statuses": {f"{s.kind}/{s.namespace}/{s.name}": s.status for s in translation.statuses},
        "problems": [f"{problem.reason}: {problem}" for problem in translation.problems],
    }
    return msgspec.json.decode(msgspec.json.encode({name: value for name, value in found.items() if value}))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_golden(path: pathlib.Path) -> None:
    golden = yaml.safe_load(path.read_text())
    found = consequence(golden)
    if os.environ.get("FAIRLEAD_GOLDEN") == "write":
        kept = path.read_text().split("\nout:")[0].rstrip("\n")
        text = yaml.safe_dump({"out": found}, sort_keys=False, width=120, allow_unicode=True)
        path.write_text(f"{kept}\n\n{text}")
        return
    assert found == golden["out"]
