"""Watches that want the same bytes share one subscription: a change is encoded and framed once and written to all of
their transports in one pass of the loop, without waking a task for each.

A member whose transport is full is let go at once, with a subscription of its own that begins where the group is; it
joins again when it has caught up. A group has at most 128 members, so that no pass holds the loop up for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fairlead.client import exchange
from fairlead.store import protocol

MEMBERS = 128

Line = Callable[[protocol.Event], bytes]


@dataclass(eq=False, slots=True)
class Member:
    """One watch in a group. `released` ends when it is none any more: with a `subscription` to go on with, or
    without one when there is nothing to go on with."""

    sink: exchange.Sink
    group: Group
    released: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    subscription: protocol.Watch | None = None

    def taken(self) -> protocol.Watch | None:
        """The subscription, which is the caller's from now on. Raises what the group failed with."""
        self.released.result()
        found, self.subscription = self.subscription, None
        return found

    def leave(self) -> None:
        """Nobody needs the watch any more."""
        self.group.remove(self)
        if self.subscription is not None:
            self.subscription.close()


class Group:
    """Watches of one prefix in one form."""

    def __init__(self, store: protocol.Store, prefix: str, line: Line, *, gone: Callable[[Group], None]) -> None:
        self.members: list[Member] = []
        self._store = store
        self._prefix = prefix
        self._line = line
        self._gone = gone
        self._revision = store.revision
        self._subscription = store.watch(prefix, after=store.revision)
        self._subscription.listen(self._hear)
        self._ending = asyncio.ensure_future(self._end())

    def up_to_date(self) -> bool:
        """True when the members have everything that has happened so far."""
        return self._subscription.idle()

    def remove(self, member: Member) -> None:
        """Without the member; the last one takes the group along."""
        if member in self.members:
            self.members.remove(member)
            if not self.members:
                self._gone(self)
                self._ending.cancel()
                self._subscription.close()

    def _hear(self, events: list[protocol.Event]) -> bool:
        # In the middle of the store's work for everybody: what fails here must fail the members only.
        try:
            framed = self.members[0].sink.frame(b"".join(map(self._line, events)))
        except Exception as error:
            for member in tuple(self.members):
                member.released.set_exception(error)
                self.remove(member)
            return True
        self._revision = events[-1].revision
        full = [member for member in self.members if not member.sink.put(framed)]
        for member in full:
            member.subscription = self._store.watch(self._prefix, after=self._revision)
            member.released.set_result(None)
            self.remove(member)
        return True

    async def _end(self) -> None:
        await self._subscription.ended()
        for member in self.members:
            member.released.set_result(None)


class Groups:
    """The groups of one API server."""

    def __init__(self, store: protocol.Store) -> None:
        self._store = store
        self._groups: dict[tuple[str, str], list[Group]] = {}

    def join(self, prefix: str, form: str, line: Line, *, sink: exchange.Sink) -> Member | None:
        """Makes a watch that has everything up to now a member of the watches of that prefix whose lines are alike.
        None when its group has not delivered everything yet."""
        known = self._groups.setdefault((prefix, form), [])
        group = next((one for one in known if len(one.members) < MEMBERS), None)
        if group is None:
            group = Group(self._store, prefix, line, gone=lambda gone: self._forget((prefix, form), gone))
            known.append(group)
        if not group.up_to_date():
            return None
        member = Member(sink, group)
        group.members.append(member)
        return member

    def _forget(self, key: tuple[str, str], group: Group) -> None:
        self._groups[key].remove(group)
        if not self._groups[key]:
            del self._groups[key]

    def shared(self) -> int:
        """How many watches there are beyond one for each group."""
        return sum(len(group.members) - 1 for groups in self._groups.values() for group in groups)
