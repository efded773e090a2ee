"""The kinds whose behaviour is a defaulting function, a validating function and a list of what raises the
generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.api import names
from fairlead.apiserver.behaviours import base

Object = dict[str, Any]


class Simple(base.Behaviour):
    """A Behaviour made of functions."""

    def __init__(
        self,
        *,
        default: Callable[[Object], None] | None = None,
        validate: Callable[[Object], base.Problems] | None = None,
        validate_update: Callable[[Object, Object], base.Problems] | None = None,
        generation: tuple[str, ...] = (),
        field_labels: tuple[str, ...] = (),
        name: Callable[[str], str] = names.subdomain_problem,
        status: Object | None = None,
        warning: str = "",
    ) -> None:
        self.generation = generation
        self.field_labels = field_labels
        self._default = default
        self._validate = validate
        self._validate_update = validate_update
        self._name = name
        self._status = status
        self._warning = warning

    def name_problem(self, name: str, *, prefix: bool) -> str:
        return self._name(name.rstrip("-") + "a" if prefix else name)

    def default(self, obj: Object) -> None:
        if self._default is not None:
            self._default(obj)

    def admit_create(self, obj: Object, around: base.Surroundings) -> None:
        if self._status is not None:
            obj.setdefault("status", {}).update(self._status)
        if self._warning:
            around.warn(self._warning)

    def validate(self, obj: Object) -> base.Problems:
        return self._validate(obj) if self._validate is not None else []

    def validate_update(self, obj: Object, old: Object) -> base.Problems:
        return self._validate_update(obj, old) if self._validate_update is not None else []
