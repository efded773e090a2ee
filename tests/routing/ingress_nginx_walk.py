"""The table of ingress-nginx' own end-to-end cases, as tests/golden/walk/*.yaml write it: what becomes of requests.

A file names one file of ingress-nginx' tests and its cases. `same` and `differs` have Ingresses and requests, which
the interpreter and the engine answer; `unseen` is nothing that somebody who writes an Ingress can see. The page
docs/ingress-nginx-cases.md is `page()`.
"""

from __future__ import annotations

import functools
import json
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import yaml

from fairlead.base import x509
from fairlead.routing import outcome, settings, table, translate
from fairlead.routing.ingress_nginx import catalogue

FOLDER = pathlib.Path(__file__).parent.parent / "golden" / "walk"
PAGE = pathlib.Path(__file__).parent.parent.parent / "docs" / "ingress-nginx-cases.md"
NAMESPACE, CONFIG = "default", ("ingress-nginx", "ingress-nginx-controller")
#: what the interpreter decides of an answer's header fields; the rest is the engine's
_DECIDED = re.compile(r"access-control-|strict-transport-security$|x-|my-|vary$")
#: user foo, password bar
PASSWORDS = "foo:{SHA}Ys23Ag/5IOWqZCw9QGaVDdHwH00="


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """A request as `METHOD URL`, its fields, and what is known of the answer.

    `to` is the Service that gets it, at `uri` with `host` and the fields `sent`; `has` are fields of the answer: a part
    of their value, or null where there is none.
    """

    ask: str
    fields: dict[str, str] = {}
    status: int = 200
    to: str = ""
    uri: str = ""
    host: str = ""
    location: str = ""
    sent: dict[str, str | None] = {}
    has: dict[str, str | None] = {}


class Written(msgspec.Struct, forbid_unknown_fields=True):
    """An Ingress, briefly. Paths are `[TYPE] PATH SERVICE`, of the type Prefix where none is written."""

    name: str = "main"
    host: str = ""
    annotations: dict[str, str] = {}
    paths: list[str] = msgspec.field(default_factory=lambda: ["/ echo"])
    tls: bool = False
    secret: str = "tls"
    class_name: str | None = "nginx"
    default: str = ""
    other: dict[str, str] = {}


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """One case. `problems` are the reasons of what its Ingresses and ConfigMap are told."""

    case: str
    verdict: Literal["same", "differs", "unseen"] = "same"
    why: str = ""
    host: str = ""
    annotations: dict[str, str] = {}
    paths: list[str] = msgspec.field(default_factory=lambda: ["/ echo"])
    tls: bool = False
    ingresses: list[Written] = []
    config: dict[str, str] = {}
    objects: list[dict[str, Any]] = []
    empty: list[str] = []
    asks: list[Ask] = []
    problems: list[str] = []


class File(msgspec.Struct, forbid_unknown_fields=True):
    """One file of ingress-nginx' tests, below test/e2e."""

    file: str
    host: str
    cases: list[Case]


@dataclass(frozen=True)
class Row:
    """A case with its file."""

    file: File
    case: Case

    @property
    def name(self) -> str:
        return f"{self.file.file}: {self.case.case}"


@functools.cache
def sources() -> dict[str, list[File]]:
    """What each file below tests/golden/walk holds."""
    return {
        path.stem: [msgspec.convert(one, File) for one in yaml.safe_load_all(path.read_text())]
        for path in sorted(FOLDER.glob("*.yaml"))
    }


def files() -> list[File]:
    """All of them, by name."""
    return sorted((one for found in sources().values() for one in found), key=lambda one: one.file)


def rows(found: list[File] | None = None) -> list[Row]:
    """All cases that are executed, or those of some files."""
    return [Row(file, case) for file in found or files() for case in file.cases if case.verdict != "unseen"]


def structure(row: Row) -> tuple[table.Structure, list[str]]:
    """The table of the case, and the reasons of what is told about its Ingresses and ConfigMap."""
    case = row.case
    written = case.ingresses or [Written(annotations=case.annotations, paths=case.paths, tls=case.tls)]
    ingresses = [_ingress(one, case.host or row.file.host, number) for number, one in enumerate(written)]
    kinds: dict[str, list[Any]] = {"Ingress": ingresses, "ConfigMap": [], "Secret": _secrets(), "IngressClass": []}
    if case.config:
        meta = {"namespace": CONFIG[0], "name": CONFIG[1]}
        kinds["ConfigMap"].append({"kind": "ConfigMap", "metadata": meta, "data": case.config})
    kinds["Service"] = [_service(name, number) for number, name in enumerate(_services(written), 1)]
    for one in case.objects:
        one = json.loads(json.dumps(one).replace('"@authority"', json.dumps(_pair()[0])))
        one["metadata"].setdefault("namespace", NAMESPACE)
        kinds[one["kind"]].append(one)
    snapshot = translate.Snapshot(
        services=kinds["Service"], ingresses=ingresses, secrets=kinds["Secret"], config_maps=kinds["ConfigMap"],
        ingress_classes=kinds["IngressClass"],
    )  # fmt: skip
    made = translate.translate(
        snapshot,
        settings.Settings(ingress_nginx=True, edge_https=("127.0.0.1:443",), default_certificate=_certificate()),
    )
    told = [one.reason for one in made.problems if one.object.startswith(("Ingress/", "ConfigMap/"))]
    return made.structure, told


def _certificate() -> table.Certificate:
    return table.Certificate(
        id="@default", chain_pem="-----BEGIN CERTIFICATE-----", key_pem="-----BEGIN PRIVATE KEY-----"
    )


def _services(written: list[Written]) -> list[str]:
    named = {path.split(" ")[-1] for one in written for path in one.paths}
    return sorted({"echo", "asked", "pages", *named} - {"missing"})


def _service(name: str, number: int) -> dict[str, Any]:
    spec = {"clusterIP": f"127.96.9.{number}", "ports": [{"port": 80, "name": "http"}]}
    return {"kind": "Service", "metadata": {"namespace": NAMESPACE, "name": name}, "spec": spec}


@functools.cache
def _pair() -> tuple[str, str]:
    hosts = {f"{www}{one.file.host}" for one in rows() for www in ("", "www.")}
    return x509.self_signed(sorted(hosts), now=datetime.now(UTC))


def _secrets() -> list[dict[str, Any]]:
    chain, key = _pair()
    content = {"users": {"auth": PASSWORDS}, "tls": {"tls.crt": chain, "tls.key": key}}
    return [
        {"kind": "Secret", "metadata": {"namespace": NAMESPACE, "name": name}, "stringData": data}
        for name, data in content.items()
    ]


def _ingress(one: Written, host: str, number: int) -> dict[str, Any]:
    host = "" if one.host == "-" else one.host or host
    paths = [_path(path.split(" ")) for path in one.paths]
    rule = {**({"host": host} if host else {}), **({"http": {"paths": paths}} if paths else {})}
    spec: dict[str, Any] = {"rules": [rule]} if rule else {}
    if one.class_name is not None:
        spec["ingressClassName"] = one.class_name
    if one.tls:
        spec["tls"] = [{"hosts": [host], "secretName": one.secret}]
    if one.default:
        spec["defaultBackend"] = {"service": {"name": one.default, "port": {"number": 80}}}
    annotations = {catalogue.PREFIX + name: value for name, value in one.annotations.items()} | one.other
    meta = {
        "namespace": NAMESPACE, "name": one.name, "annotations": annotations,
        "creationTimestamp": f"2026-01-01T00:00:{number:02}Z",
    }  # fmt: skip
    return {"kind": "Ingress", "metadata": meta, "spec": spec}


def _path(words: list[str]) -> dict[str, Any]:
    kind, path, service = words if len(words) == 3 else ("Prefix", *words)
    found: dict[str, Any] = {"path": path, "pathType": kind}
    return {**found, "backend": {"service": {"name": service, "port": {"number": 80}}}}


def request(ask: Ask, client: str = "127.0.0.1") -> outcome.Request:
    """The request that a line asks for."""
    method, _, url = ask.ask.partition(" ")
    scheme, _, rest = url.partition("://")
    host, slash, uri = rest.partition("/")
    fields = {name.lower(): value for name, value in ask.fields.items()}
    return outcome.Request(
        host=host, uri=slash + uri or "/", scheme=scheme, method=method, headers=fields, client=client
    )


def contradictions(made: table.Structure, ask: Ask, empty: list[str]) -> Iterator[str]:
    """What the interpreter says otherwise; silent about what it does not decide."""
    asked = request(ask)
    found = outcome.of(made, f"edge-{asked.scheme}", asked)
    asked_for = {name.partition("/")[2].partition(":")[0] for name, _ in found.backends}
    if found.asks or found.page or (asked_for & set(empty)) or (found.pages and ask.status in found.pages.statuses):
        return
    if found.status:
        if found.status != ask.status:
            yield f"{ask.ask}: {found.status}, not {ask.status}"
    elif ask.to and not found.pages and asked_for != set(ask.to.split("|")):
        yield f"{ask.ask}: {found.backends}, not {ask.to}"
    for what, said, wanted in (("uri", found.uri, ask.uri), ("location", found.location, ask.location)):
        if wanted and said != wanted:
            yield f"{ask.ask}: {what} {said}, not {wanted}"
    for name, value in ask.has.items():
        if _DECIDED.match(name.lower()) and not holds(found.gives.get(name.lower()), value):
            yield f"{ask.ask}: gives {found.gives.get(name.lower())} as {name}, not {value}"


def holds(values: tuple[str, ...] | list[str] | None, wanted: str | None) -> bool:
    """Whether a field has a value with that part, or (None) is not there."""
    return not values if wanted is None else len(values or ()) == 1 and wanted in (values or ("",))[0]


_INTRODUCTION = """\
# ingress-nginx' own cases, here

The cases of ingress-nginx' end-to-end tests (`test/e2e`), one by one. Each case that is *same* or *differs* is a table
of requests in `tests/golden/walk`, answered by the interpreter of the routing table and by the engine; *unseen* is what
nobody can see who writes an Ingress: text of nginx.conf, or the controller's own machinery.
"""


def page() -> str:
    """The whole page."""
    every = files()
    counts = {
        verdict: sum(case.verdict == verdict for one in every for case in one.cases)
        for verdict in ("same", "differs", "unseen")
    }
    parts = [_INTRODUCTION, f"{counts['same']} same, {counts['differs']} differ, {counts['unseen']} unseen.\n"]
    for one in every:
        parts.append(f"## {one.file}\n\n| case | here | why |\n| --- | --- | --- |")
        parts.append("".join(f"| {case.case} | {case.verdict} | {case.why} |\n" for case in one.cases))
    return "\n".join(parts)
