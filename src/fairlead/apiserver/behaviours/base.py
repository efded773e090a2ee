"""What every kind does unless it says otherwise, and the hooks in which kinds differ.

Hooks run in this order: `default` (fills in), `admit` (looks around: other objects, addresses), `validate`. They
get the object as a dict that they may change; problems are FieldErrors. Everything is synchronous: between reading
an object and giving its write a revision nothing else runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fairlead.api import field_errors
from fairlead.client import exchange

Object = dict[str, Any]
Problems = list[field_errors.FieldError]


class Surroundings(Protocol):
    """What admission may look at."""

    node_name: str

    def get(self, bucket: str, namespace: str, name: str) -> Object | None:
        """The newest value of a stored object."""

    def list(self, bucket: str, namespace: str = "") -> Sequence[Object]:
        """The stored objects of a bucket."""

    def may(self, asked: Any) -> bool:
        """Whether the caller may do what `rbac.Attributes` say."""

    def own_rules(self, namespace: str) -> Sequence[Object]:
        """The RBAC rules that the caller has there."""

    def now(self) -> float:
        """Seconds since 1970."""

    def random_name(self, length: int) -> str:
        """Random letters and digits as Kubernetes uses them in names."""

    def warn(self, text: str) -> None:
        """Adds a Warning header to the answer."""

    @property
    def addresses(self) -> Any:
        """The allocator of Service addresses and node ports (`apiserver.addresses`)."""

    @property
    def identity(self) -> exchange.Identity:
        """Who asks."""

    @property
    def dry_run(self) -> bool:
        """Nothing may be kept."""


class Behaviour:
    """The defaults of all kinds. `generation` says which top-level fields raise metadata.generation when they
    change."""

    generation: tuple[str, ...] = ()
    field_labels: tuple[str, ...] = ()
    graceful = False
    create_on_update = False
    status_field = "status"

    def name_problem(self, name: str, *, prefix: bool) -> str:
        """Why the name cannot be one of this kind's, or ""."""
        from fairlead.api import names

        return names.subdomain_problem(name.rstrip("-") + "a" if prefix else name)

    def default(self, obj: Object) -> None:
        """Fills in what the user left out."""

    def admit_create(self, obj: Object, around: Surroundings) -> None:
        """Fills in what depends on other objects. Raises ApiError to refuse."""

    def admit_update(self, obj: Object, old: Object, around: Surroundings) -> None:
        """The same for a change."""

    def validate(self, obj: Object) -> Problems:
        """What is wrong with the object."""
        return []

    def validate_update(self, obj: Object, old: Object) -> Problems:
        """What may not change."""
        return []

    def validate_status(self, obj: Object, old: Object) -> Problems:
        """What is wrong with a new status."""
        return []

    def prepare_status(self, obj: Object, old: Object) -> None:
        """Restricts a status update further than to status and metadata."""

    def created(self, obj: Object, around: Surroundings) -> None:
        """After the write is durable."""

    def deleted(self, obj: Object, around: Surroundings) -> None:
        """After the object has gone."""

    def deletion_refused(self, obj: Object, identity: exchange.Identity) -> str:
        """Why this object may not be deleted, or ""."""
        return ""

    def grace_seconds(self, obj: Object, asked: int | None) -> int | None:
        """The grace period of a graceful deletion; None: delete at once."""
        return None


Factory = Callable[[], Behaviour]
