"""Store and watch against a model: any sequence of writes, deletions, compactions, watches and restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fairlead.store import protocol, sqlite

KEYS = st.sampled_from([f"{bucket}/{space}/{name}" for bucket in "ab" for space in ("n", "n-2") for name in "123"])
PREFIXES = st.sampled_from(["a/", "a/n/", "a/n-2/", "b/", "b/n/"])


@dataclass
class Watching:
    """One watch, and what the model says it must still see."""

    watch: protocol.Watch
    prefix: str
    due: list[tuple[int, str, bool]] = field(default_factory=list)


class StoreMachine(RuleBasedStateMachine):
    """The model is a list of all changes and a dict of the newest values."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.changes: list[tuple[int, str, bool]] = []
        self.values: dict[str, tuple[int, int]] = {}
        self.oldest = 0
        self.watches: list[Watching] = []
        self.store = self._opened()

    def _opened(self) -> sqlite.SqliteStore:
        async def make() -> sqlite.SqliteStore:
            store = sqlite.SqliteStore(self.folder / "store.db")
            await store.open()
            return store

        return self.loop.run_until_complete(make())

    def _changed(self, entry: protocol.Entry, *, deleted: bool) -> None:
        expected = (self.changes[-1][0] if self.changes else 0) + 1
        assert entry.revision == expected
        change = (entry.revision, entry.key, deleted)
        self.changes.append(change)
        for one in self.watches:
            if entry.key.startswith(one.prefix):
                one.due.append(change)

    @rule(key=KEYS, guess=st.sampled_from(["any", "right", "new", "wrong"]))
    def write(self, key: str, guess: str) -> None:
        current = self.values.get(key, (0, 0))[1]
        expected = {"any": None, "right": current, "new": 0, "wrong": current + 5}[guess]

        async def run() -> protocol.Entry:
            return await self.store.write(key, lambda revision: f"{key}@{revision}".encode(), expected=expected)

        try:
            entry = self.loop.run_until_complete(run())
        except protocol.Conflict as conflict:
            assert expected != current and conflict.actual == current
            return
        assert expected in (None, current)
        created = self.values[key][0] if key in self.values else entry.revision
        assert entry.created == created
        self.values[key] = (created, entry.revision)
        self._changed(entry, deleted=False)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        async def run() -> protocol.Entry:
            return await self.store.delete(key, lambda revision: b"gone")

        try:
            entry = self.loop.run_until_complete(run())
        except protocol.Conflict:
            assert key not in self.values
            return
        del self.values[key]
        self._changed(entry, deleted=True)

    @rule(prefix=PREFIXES, back=st.integers(0, 12))
    def watch(self, prefix: str, back: int) -> None:
        after = max(0, self.store.revision - back)

        async def run() -> protocol.Watch:
            return self.store.watch(prefix, after=after)

        try:
            watch = self.loop.run_until_complete(run())
        except protocol.Compacted:
            assert after < self.oldest
            return
        assert after >= self.oldest
        due = [change for change in self.changes if change[0] > after and change[1].startswith(prefix)]
        self.watches.append(Watching(watch, prefix, due))

    @precondition(lambda self: any(one.due for one in self.watches))
    @rule(pick=st.integers(0, 100))
    def read(self, pick: int) -> None:
        waiting = [one for one in self.watches if one.due]
        one = waiting[pick % len(waiting)]
        events = self.loop.run_until_complete(asyncio.wait_for(one.watch.next(), 5))
        assert [(event.revision, event.entry.key, event.deleted) for event in events] == one.due
        one.due.clear()
        assert one.watch.idle()

    @rule(prefix=PREFIXES, limit=st.integers(1, 3), back=st.integers(0, 10))
    def page(self, prefix: str, limit: int, back: int) -> None:
        revision = max(0, self.store.revision - back)
        state: dict[str, int] = {}
        for number, key, deleted in self.changes:
            if number <= revision and key.startswith(prefix):
                state[key] = 0 if deleted else number
        expected = sorted((key, number) for key, number in state.items() if number)
        found: list[tuple[str, int]] = []
        after = ""
        try:
            while True:
                page = self.store.page(prefix, after=after, limit=limit, revision=revision)
                found += [(entry.key, entry.revision) for entry in page.entries]
                if not page.remaining:
                    break
                after = page.entries[-1].key
        except protocol.Compacted:
            assert revision < self.oldest
            return
        assert found == expected or revision == 0  # 0 asks for the newest

    @rule(back=st.integers(0, 8))
    def compact(self, back: int) -> None:
        revision = max(0, self.store.revision - back)
        self.loop.run_until_complete(self.store.compact(revision))
        self.oldest = max(self.oldest, revision)

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.store = self._opened()
        self.watches.clear()

    @invariant()
    def newest_values(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.revision == (self.changes[-1][0] if self.changes else 0)
        for bucket in "ab":
            expected = sorted((key, revision) for key, (_, revision) in self.values.items() if key.startswith(bucket))
            assert [(entry.key, entry.revision) for entry in self.store.page(f"{bucket}/").entries] == expected

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.loop.run_until_complete(self.store.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
