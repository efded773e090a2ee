"""What every store answers from memory: reads and watches of what is durable, and the newest value on its way."""

from __future__ import annotations

from fairlead.store import pending, protocol, view


class Reads:
    """The half of `protocol.Store` that touches no disk."""

    def __init__(self) -> None:
        self._view = view.View()
        self._pending = pending.Pending(self._view)

    @property
    def revision(self) -> int:
        return self._view.revision

    def get(self, key: str) -> protocol.Entry | None:
        return self._view.get(key)

    def head(self, key: str) -> protocol.Entry | None:
        return self._pending.head(key)

    def page(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> protocol.Page:
        return self._view.page(prefix, after=after, limit=limit, revision=revision)

    def count(self, prefix: str) -> int:
        return self._view.count(prefix)

    def changed(self, bucket: str) -> int:
        return self._view.changed(bucket)

    def buckets(self) -> dict[str, int]:
        return self._view.buckets()

    def watchers(self) -> int:
        return self._view.watchers()

    def watch(self, prefix: str, *, after: int) -> protocol.Watch:
        return self._view.subscribe(prefix, after=after)
