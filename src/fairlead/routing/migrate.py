"""`migrate ingress-nginx`: what of some manifests stays the same here, what differs, what is refused. Pure.

The very translation that would carry them is asked, so that the report and the running thing cannot disagree. What the
manifests only refer to (Services, Secrets, ConfigMaps) is taken to exist and is named.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fairlead.routing import draft, ingress_shape, migrate_older, settings, table, translate
from fairlead.routing.ingress_nginx import catalogue, configmap, process
from fairlead.routing.ingress_nginx.entry import Entry

Object = dict[str, Any]
Verdict = Literal["same", "differs", "refused"]
_ORDER: tuple[Verdict, ...] = ("same", "differs", "refused")
#: reasons of what is judged value by value, and of what ingress-nginx does likewise
_JUDGED = ("Refused", "InvalidValue", "UnknownAnnotation", "ObsoleteAnnotation", "UnknownKey")
_WARNINGS = ("ServiceDecides", "CookiePath")
_NO_CLASS = (
    "has no class: ingress-nginx takes such a one where nginx is the default class, here it is one of fairlead's own; "
    "name the class (judged as nginx)"
)
_LEGACY_CLASS = "kubernetes.io/ingress.class"


@dataclass(frozen=True, slots=True)
class Note:
    """One thing about one field."""

    verdict: Verdict
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One object: the worst of its notes is its verdict."""

    object: str
    notes: tuple[Note, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return _worst(note.verdict for note in self.notes)


@dataclass(frozen=True, slots=True)
class Report:
    """All objects that concern ingress-nginx, in the order of their names.

    `skipped` are Ingresses of other classes, `hints` what was not judged and could be.
    """

    items: tuple[Item, ...] = ()
    assumed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return _worst(item.verdict for item in self.items)

    @property
    def exit_status(self) -> int:
        """0 same, 1 differs, 2 refused."""
        return _ORDER.index(self.verdict)


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=_ORDER.index, default="same")


def report(objects: Iterable[Object], *, config: str = settings.Settings().ingress_nginx_config) -> Report:
    """The report on the objects. `config` is the controller's ConfigMap, as namespace/name."""
    world = _World(list(objects), config)
    translation = translate.translate(world.snapshot(), world.settings)
    notes: dict[str, list[Note]] = {
        f"Ingress/{draft.key(one)}": [*world.of_itself.get(draft.key(one), ()), *_annotations(one)]
        for one in world.ingresses
    }
    if world.config is not None:
        notes[f"ConfigMap/{config}"] = _config(world.config)
    for problem in translation.problems:
        if problem.object in notes and problem.reason not in _JUDGED:
            verdict: Verdict = "same" if problem.reason in _WARNINGS else "refused"
            place = problem.path.removeprefix("metadata.annotations[").removesuffix("]")
            path = place if place.startswith(catalogue.PREFIX) else problem.path
            notes[problem.object].append(Note(verdict, path, problem.message))
    items = tuple(Item(name, tuple(found)) for name, found in sorted(notes.items()))
    hints = migrate_older.hints(world.objects, config=config, found=world.config is not None)
    return Report(items, tuple(sorted(world.assumed)), tuple(sorted(world.skipped)), hints)


def _annotations(ingress: Object) -> list[Note]:
    found = (ingress.get("metadata") or {}).get("annotations") or {}
    return [
        note
        for name, value in sorted(found.items())
        if name.startswith(catalogue.PREFIX)
        for note in _judge(catalogue.ENTRIES, name, value, removed=catalogue.PREFIX)
    ]


def _config(config: Object) -> list[Note]:
    found = sorted((config.get("data") or {}).items())
    return [note for name, value in found for note in _judge(configmap.ENTRIES, name, value)]


def _judge(entries: Mapping[str, Entry], name: str, value: Any, *, removed: str = "") -> Iterator[Note]:
    word = name.removeprefix(removed)
    entry = entries.get(word)
    if not isinstance(value, str):
        written = str(value).lower() if isinstance(value, bool) else value
        yield Note("refused", name, f'is no string, and no API server takes it: write "{written}"')
    if removed and (instead := catalogue.OBSOLETE.get(word)):
        yield Note("same", name, f"{catalogue.GONE}: {instead}")
    elif entry is None:
        near = difflib.get_close_matches(word, entries, n=1, cutoff=0.8)
        meant = f"; is {near[0]} meant?" if near else ""
        yield Note("refused", name, f"is nothing that ingress-nginx documents{meant}")
    elif isinstance(value, str):
        yield from _judge_value(entry, name, value)


def _judge_value(entry: Entry, name: str, value: str) -> Iterator[Note]:
    problem = catalogue.parse_value({}, entry, value, obj="", path=name)
    if problem is not None:
        refused = problem.reason == "Refused"
        more = migrate_older.instead_of(value) if "snippet" in entry.name else ""
        after = "; its paths answer 503" if entry.guards else "" if refused else "; it counts for nothing"
        yield Note("refused", name, (entry.note if refused else problem.message) + more + after)
    elif entry.treatment == "idle" or entry.differs:
        yield Note("differs" if entry.differs else "same", name, entry.note)


def _is_default(ingress_class: Object) -> bool:
    annotations = ingress_class["metadata"].get("annotations") or {}
    ours = (ingress_class.get("spec") or {}).get("controller") == process.CONTROLLER
    return ours and annotations.get("ingressclass.kubernetes.io/is-default-class") == "true"


@dataclass
class _World:
    """The objects, and stand-ins for what they refer to."""

    objects: list[Object]
    config_key: str
    ingresses: list[Object] = field(default_factory=list)
    config: Object | None = None
    assumed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    of_itself: dict[str, list[Note]] = field(default_factory=dict)  # what is to be said of an Ingress as it is written
    settings: settings.Settings = field(init=False)

    def __post_init__(self) -> None:
        for one in self.objects:
            one.setdefault("metadata", {}).setdefault("namespace", "default")
        self.settings = settings.Settings(
            ingress_nginx=True,
            ingress_nginx_config=self.config_key,
            check_certificates=False,
            default_certificate=table.Certificate(id="@default", chain_pem="", key_pem=""),
        )
        classes = {
            one["metadata"]["name"]: (one.get("spec") or {}).get("controller") for one in self._of("IngressClass")
        }
        default = any(map(_is_default, self._of("IngressClass")))
        for one in self._of("Ingress"):
            self._sort(one, classes, default=default)
        self.config = next((one for one in self._of("ConfigMap") if draft.key(one) == self.config_key), None)

    def _of(self, kind: str) -> list[Object]:
        return [one for one in self.objects if one.get("kind") == kind]

    def _sort(self, ingress: Object, classes: dict[str, Any], *, default: bool) -> None:
        notes = self.of_itself.setdefault(draft.key(ingress), [])
        if older := migrate_older.version(ingress):
            ingress = migrate_older.converted(ingress)
            notes.append(Note("refused", "apiVersion", older))
        spec, annotations = ingress.get("spec"), ingress["metadata"].get("annotations")
        named = spec.get("ingressClassName") if isinstance(spec, dict) else None
        named = named or (annotations.get(_LEGACY_CLASS) if isinstance(annotations, dict) else None)
        if named and classes.get(named, process.CONTROLLER if named == process.CLASS else "") != process.CONTROLLER:
            self.skipped.add(f"Ingress/{draft.key(ingress)} (class {named})")
            return
        if not named and isinstance(spec, dict):
            if not default:
                notes.append(Note("differs", "spec.ingressClassName", _NO_CLASS))
            ingress = {**ingress, "spec": {**spec, "ingressClassName": process.CLASS}}
        self.ingresses.append(ingress)

    def snapshot(self) -> translate.Snapshot:
        """What is translated: nginx' Ingresses, with everything they refer to."""
        known = {(one.get("kind"), draft.key(one)): one for one in self.objects}
        for ingress in self.ingresses:
            if not ingress_shape.mistake(ingress)[1]:
                for stand_in in _referred(ingress):
                    key = (stand_in["kind"], draft.key(stand_in))
                    if key not in known:
                        known[key] = stand_in
                        self.assumed.add("/".join(key))
                    elif key[1:] and stand_in["kind"] == "Service" and f"Service/{key[1]}" in self.assumed:
                        _add_ports(known[key], stand_in["spec"]["ports"])
        by_kind: dict[str, list[Object]] = {}
        for one in known.values():
            by_kind.setdefault(str(one.get("kind")), []).append(one)
        return translate.Snapshot(
            services=_addressed(by_kind.get("Service", [])),
            ingresses=self.ingresses,
            ingress_classes=by_kind.get("IngressClass", []),
            secrets=by_kind.get("Secret", []),
            config_maps=by_kind.get("ConfigMap", []),
        )


def _addressed(services: list[Object]) -> list[Object]:
    """Services as an API server would have given them addresses."""
    return [
        {**one, "spec": {**(one.get("spec") or {}), "clusterIP": f"127.96.{number >> 8 & 255}.{number & 255}"}}
        for number, one in enumerate(services, 1)
    ]


def _add_ports(service: Object, ports: list[Object]) -> None:
    have = service["spec"]["ports"]
    have += [port for port in ports if port not in have]


def _referred(ingress: Object) -> Iterator[Object]:
    spec, namespace = ingress.get("spec") or {}, ingress["metadata"]["namespace"]
    backends = [
        path.get("backend") for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()
    ]
    for backend in [*backends, spec.get("defaultBackend")]:
        service = (backend or {}).get("service") or {}
        if service.get("name"):
            port = service.get("port") or {}
            number = port.get("number") or 80
            yield _service(namespace, service["name"], {"port": number, "name": port.get("name") or f"port-{number}"})
    for entry in spec.get("tls") or ():
        if entry.get("secretName"):
            yield _stand_in("Secret", namespace, entry["secretName"])
    yield from _referred_by_words(catalogue.parse(ingress["metadata"].get("annotations") or {}, obj=""), namespace)


def _referred_by_words(words: catalogue.Words, namespace: str) -> Iterator[Object]:
    for name in ("auth-secret", "auth-tls-secret", "proxy-ssl-secret"):
        named, secret = words.get(name, ("", ""))
        if secret and named in ("", namespace):
            yield _stand_in("Secret", namespace, secret)
    for name in ("custom-headers", "auth-proxy-set-headers"):
        named, config_map = words.get(name, ("", ""))
        if config_map and named in ("", namespace):
            yield {"kind": "ConfigMap", "metadata": {"namespace": namespace, "name": config_map}, "data": {}}
    if words.get("default-backend"):
        yield _service(namespace, words.get("default-backend"), {"port": 80, "name": "port-80"})
    for name in ("auth-url", "mirror-target"):
        target = words.get(name)
        if target is not None and target.service is not None:
            yield _service(target.service[0], target.service[1], {"port": target.port, "name": f"port-{target.port}"})


def _service(namespace: str, name: str, port: Object) -> Object:
    return {"kind": "Service", "metadata": {"namespace": namespace, "name": name}, "spec": {"ports": [port]}}


def _stand_in(kind: str, namespace: str, name: str) -> Object:
    pem = {"tls.crt": "-----BEGIN CERTIFICATE-----", "tls.key": "-----BEGIN PRIVATE KEY-----"}
    word = "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="
    data = {**pem, "ca.crt": pem["tls.crt"], "auth": f"someone:{word}", "someone": word}
    return {"kind": kind, "metadata": {"namespace": namespace, "name": name}, "stringData": data}
