"""Each file of tests/golden/{routing,ingress_nginx} shows what some manifests become: table, endpoints, statuses,
problems, and what then happens to some requests.

`FAIRLEAD_GOLDEN=write` writes what the translation says now; read the difference before you commit it.
"""

import os
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
import yaml

from fairlead.routing import outcome, settings, table, translate

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
FILES = sorted([*(GOLDEN / "routing").glob("*.yaml"), *(GOLDEN / "ingress_nginx").glob("*.yaml")])
KINDS = {
    "Service": "services",
    "EndpointSlice": "endpoint_slices",
    "Ingress": "ingresses",
    "IngressClass": "ingress_classes",
    "Secret": "secrets",
    "ConfigMap": "config_maps",
    "BackendPolicy": "backend_policies",
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
    made = {
        section: {name: {k: v for k, v in one.items() if k != "id"} for name, one in content.items()}
        for section, content in msgspec.to_builtins(translation.structure).items()
        if content
    }
    sets = translate.all_endpoints(translation, snapshot.endpoint_slices)
    found = {
        "table": made,
        "endpoints": {one.backend: [msgspec.to_builtins(e) for e in one.endpoints] for one in sets},
        "statuses": {f"{s.kind}/{s.namespace}/{s.name}": s.status for s in translation.statuses},
        "problems": [f"{problem.reason}: {problem}" for problem in translation.problems],
        "answers": {line: answer(translation.structure, line) for line in golden.get("requests") or ()},
    }
    return msgspec.json.decode(msgspec.json.encode({name: value for name, value in found.items() if value}))


def answer(structure: table.Structure, line: str) -> str:
    """What becomes of `METHOD URL [name: value | client=ADDRESS]…`: a status, or the Backends with path and host."""
    method, url, *more = line.split(" | ")[0].split(" ") + line.split(" | ")[1:]
    parts = urllib.parse.urlsplit(url)
    fields = dict(one.split("=", 1) for one in more if "=" in one and ": " not in one)
    headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in more if ": " in one)}
    uri = parts.path + (f"?{parts.query}" if parts.query else "")
    request = outcome.Request(
        host=parts.netloc, uri=uri or "/", scheme=parts.scheme, method=method, headers=headers,
        client=fields.get("client", "192.0.2.1"),
    )  # fmt: skip
    found = outcome.of(structure, f"edge-{parts.scheme}", request)
    given = f" gives {told(found.gives)}" if found.gives else ""
    if found.status:
        page = f" shown by {found.page}" if found.page else ""
        return f"{found.status} {found.location}".strip() + page + given
    backends = " ".join(f"{name}*{weight}" for name, weight in found.backends)
    asked = f" asks {','.join(found.asks)}" if found.asks else ""
    sent = f" sends {told(found.sends)}" if found.sends else ""
    paged = f" {','.join(map(str, found.pages.statuses))} shown by {found.pages.backend}" if found.pages else ""
    return (
        f"{backends} {found.uri}"
        + (f" host {found.host}" if found.host != parts.netloc else "")
        + asked
        + sent
        + given
        + paged
    )


def told(fields: Mapping[str, tuple[str, ...]]) -> str:
    """Header fields, `-name` for one that is taken out."""
    return " & ".join(f"{name}: {', '.join(values)}" if values else f"-{name}" for name, values in fields.items())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden(path: pathlib.Path) -> None:
    golden = yaml.safe_load(path.read_text())
    found = consequence(golden)
    if os.environ.get("FAIRLEAD_GOLDEN") == "write":
        kept = path.read_text().split("\nout:")[0].rstrip("\n")
        text = yaml.safe_dump({"out": found}, sort_keys=False, width=120, allow_unicode=True)
        path.write_text(f"{kept}\n\n{text}")
        return
    assert found == golden["out"]
