"""What is known of one Ingress by itself: whose it is, its hosts, its own mistakes, its status. Made once for each.

A record is a pure function of the object, the IngressClasses and the settings; `Records` keeps them while none of these
changes, so that a translation after one change is not a translation of everything.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fairlead.api.problem import Problem
from fairlead.routing import draft, hosts, ingress_shape, policy, settings
from fairlead.routing.ingress_nginx import catalogue, process, sites

Object = dict[str, Any]
FEW = 100  # more changes than this are filed at once
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_FOREIGN = (catalogue.PREFIX, "haproxy.org/", "traefik.ingress.kubernetes.io/")


@dataclass(frozen=True, slots=True)
class Record:
    """One Ingress. `whose`: "ours", "nginx" (ours, as ingress-nginx has it), or "" somebody else's.

    `order` rises with its age's seconds and leaves room for the Routes of one path. `hosts` are those of its rules that
    are names ("" is every host); `parsed` is what its class's translator makes of it beforehand.
    """

    ingress: Object
    key: str
    age: tuple[str, str]
    order: int
    whose: str = ""
    hosts: tuple[str, ...] = ()
    parsed: Any = None
    problems: tuple[Problem, ...] = ()
    status: draft.Status | None = None

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        return self.key.partition("/")[2]

    @property
    def object(self) -> str:
        return f"Ingress/{self.key}"

    @property
    def spec(self) -> Object:
        return self.ingress.get("spec") or {}

    @property
    def annotations(self) -> dict[str, Any]:
        return self.ingress["metadata"].get("annotations") or {}


@dataclass(frozen=True, slots=True)
class Change:
    """What is different from the snapshot before."""

    gone: tuple[Record, ...] = ()
    come: tuple[Record, ...] = ()


@dataclass
class Records:
    """The records of a snapshot, oldest first; those of the snapshot before are used again."""

    where: settings.Settings
    every: list[Record] = field(default_factory=list)
    telling: dict[str, Record] = field(default_factory=dict)  # those with problems
    asking: dict[str, Record] = field(
        default_factory=dict
    )  # those of ingress-nginx that want more hosts than they have
    _at: dict[int, Record] = field(default_factory=dict)  # by the identity of the Ingress, which the record keeps
    _classes: tuple[Object, ...] = ()

    def of(self, ingresses: Sequence[Object], classes: Iterable[Object]) -> Change:
        """Makes `every` that of these objects. Of several that are given under one name at once the last counts."""
        given = tuple(classes)
        anew = len(given) != len(self._classes) or any(a is not b for a, b in zip(given, self._classes, strict=True))
        self._classes = given
        now = dict(zip(map(id, ingresses), ingresses, strict=True))
        gone = [self._at[one] for one in (self._at if anew else self._at.keys() - now.keys())]
        new = now.keys() if anew else now.keys() - self._at.keys()
        ordered = [one for identity, one in now.items() if identity in new] if new else ()
        fresh = {draft.key(one): one for one in ordered}
        judge = _Judge(self.where, given)
        come = [judge.record(key, one) for key, one in fresh.items()]
        for record in gone:
            del self._at[id(record.ingress)]
            self.telling.pop(record.key, None)
            self.asking.pop(record.key, None)
        for record in come:
            self._at[id(record.ingress)] = record
            if record.problems:
                self.telling[record.key] = record
            if record.whose == "nginx" and sites.asks_for_names(record.parsed):
                self.asking[record.key] = record
        self._file(gone, come)
        return Change(tuple(gone), tuple(come))

    def _file(self, gone: list[Record], come: list[Record]) -> None:
        if len(gone) + len(come) > FEW:
            left = {id(one) for one in gone}
            self.every = sorted([*(one for one in self.every if id(one) not in left), *come], key=age)
            return
        for record in gone:
            del self.every[bisect.bisect_left(self.every, record.age, key=age)]
        for record in come:
            bisect.insort(self.every, record, key=age)


def age(record: Record) -> tuple[str, str]:
    """Sorts records oldest first."""
    return record.age


class _Judge:
    """Makes records."""

    def __init__(self, where: settings.Settings, classes: tuple[Object, ...]) -> None:
        self._where = where
        self._classes = {one["metadata"]["name"]: one for one in classes}
        self._defaults = [
            one for one in classes if (one["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        ]

    def record(self, key: str, ingress: Object) -> Record:
        age = draft.age(ingress)
        order = _seconds(age[0])
        place, mistake = ingress_shape.mistake(ingress)
        if mistake:
            return Record(ingress, key, age, order, problems=(Problem(f"Ingress/{key}", place, "Invalid", mistake),))
        whose, problems = self._whose(ingress, f"Ingress/{key}")
        if not whose:
            return Record(ingress, key, age, order, problems=problems)
        parsed, found, mistakes = _parsed(whose, key, ingress, order)
        status = _status(self._where, ingress)
        return Record(ingress, key, age, order, whose, found, parsed, (*problems, *mistakes), status)

    def _whose(self, ingress: Object, obj: str) -> tuple[str, tuple[Problem, ...]]:
        annotations = ingress["metadata"].get("annotations") or {}
        named = (ingress.get("spec") or {}).get("ingressClassName") or annotations.get("kubernetes.io/ingress.class")
        if not named:
            if not self._defaults:
                return "ours", ()
            return next(filter(None, (self._by_controller(one) for one in self._defaults)), ""), ()
        if named in self._classes:
            return self._by_controller(self._classes[named]), ()
        if named in self._where.ingress_classes:
            return "ours", ()
        if named == process.CLASS and self._where.ingress_nginx:
            return "nginx", ()
        hint = "; start with --ingress-nginx to take this class as ingress-nginx does" if named == process.CLASS else ""
        message = (
            f"there is no IngressClass {named!r}; use {self._where.ingress_classes[0]!r}, leave it out, or "
            f"create the class with controller {self._where.ingress_controller}{hint}"
        )
        return "", (Problem(obj, "spec.ingressClassName", "UnknownIngressClass", message),)

    def _by_controller(self, one: Object) -> str:
        controller = str((one.get("spec") or {}).get("controller") or "")
        if controller == process.CONTROLLER and self._where.ingress_nginx:
            return "nginx"
        return "ours" if controller == self._where.ingress_controller else ""


def _parsed(whose: str, key: str, ingress: Object, order: int) -> tuple[Any, tuple[str, ...], list[Problem]]:
    """What the class's translator makes of the Ingress, its hosts, its own mistakes."""
    obj, spec = f"Ingress/{key}", ingress.get("spec") or {}
    annotations = ingress["metadata"].get("annotations") or {}
    found: dict[str, None] = {"": None} if spec.get("defaultBackend") else {}
    mistakes: list[Problem] = []
    for index, rule in enumerate(spec.get("rules") or ()):
        host = str(rule.get("host") or "").lower()
        if wrong := hosts.mistake(host):
            mistakes.append(Problem(obj, f"spec.rules[{index}].host", "InvalidHost", wrong))
        else:
            found[host] = None
    if whose == "nginx":
        parsed, more = process.source(key, ingress, order)
        return parsed, tuple(found), [*mistakes, *more]
    canary = policy.canary(annotations, obj=obj)
    return (
        canary,
        tuple(found),
        [*mistakes, *policy.parse(annotations, obj=obj)[1], *canary.problems, *_foreign(annotations, obj)],
    )


def _foreign(annotations: dict[str, Any], obj: str) -> list[Problem]:
    problems = []
    for prefix in _FOREIGN:
        hint = "annotations of other controllers are not translated"
        if prefix == catalogue.PREFIX:
            hint += "; class nginx with --ingress-nginx has them"
        problems += policy.unknown(annotations, obj=obj, prefix=prefix, known=frozenset(), hint=hint)
    return problems


def _status(where: settings.Settings, ingress: Object) -> draft.Status:
    doors = [int(socket.rpartition(":")[2]) for socket in where.edge_http[:1]]
    ports = [{"port": port, "protocol": "TCP"} for port in doors]
    addresses = [{"ip": address, "ports": ports} for address in where.edge_addresses]
    meta = ingress["metadata"]
    return draft.Status("Ingress", meta.get("namespace", ""), meta["name"], {"loadBalancer": {"ingress": addresses}})


def _seconds(timestamp: str) -> int:
    try:
        return int(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp())
    except ValueError:
        return 0
