"""The kernel as a plane: one nftables table per cluster, written over netlink.

Promises: a change is one transaction; connections that are established go on through it; what the kernel refuses is a
Nack; `close(purge=True)` deletes the table and nothing else is ever touched. The unchanging part is loaded once by
`nft -f -`, everything else by a long-lived writer. Needs CAP_NET_ADMIN and nft; refuses (PlaneUnavailable) without.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fairlead.base import clock as clocks
from fairlead.base import log as logs
from fairlead.base import tasks
from fairlead.dataplane import (
    conntrack,
    netlink,
    nft_adopt,
    nft_check,
    nft_encode,
    nft_forward,
    nft_rules,
    nft_skeleton,
    nft_state,
)
from fairlead.dataplane.plane import Ack, Nack
from fairlead.routing import table

log = logs.get(__name__)
_Result = TypeVar("_Result")
GUARD_SECONDS = 1.0
STEP_BACKENDS = 100  # looked at in one turn of the loop, which is to take less than 20 ms
_POLL_SECONDS = (0.02, 0.5)


class PlaneUnavailable(Exception):
    """The kernel cannot be this plane here; the message says what is missing."""


Accepted = Callable[[str, Sequence[bytes]], Awaitable[Sequence[bytes] | None]]


async def unknown(address: str, before: Sequence[bytes] = ()) -> Sequence[bytes] | None:
    """Who cannot say of any address which connections are established to it."""
    return None


class NftablesPlane:
    """`start` it; then it is a Plane."""

    name = "kernel"

    def __init__(
        self,
        table_name: str,
        *,
        clock: clocks.Clock,
        on_failure: Callable[[str, BaseException], None],
        pods: Sequence[str] = (),
        services: Sequence[str] = (),
        gateways: Sequence[str] = (),
        nft: str = "nft",
        on_obstacles: Callable[[Sequence[str]], None] = lambda _: None,
        on_repair: Callable[[str], None] = lambda _: None,
        accepted: Accepted = unknown,
    ) -> None:
        """`pods` and `services` are this cluster's networks, `gateways` the node's addresses among the pods;
        `on_obstacles` is told when the chains of others in which pods' packets end, whatever we do, are not as before;
        `on_repair` what had become of our rules, when they are there again; `accepted` tells the connections that are
        established to an address, given what it told before, and None where it does not know: then the kernel's table
        is asked, which takes longer.

        Raises ValueError for what is no name or network."""
        self._table = nft_skeleton.check_name(table_name)
        self._text = nft_skeleton.render(table_name, pods=pods, services=services)
        self._mark = f"fairlead {nft_skeleton.fingerprint(table_name, pods=pods, services=services)}"
        self._pods, self._gateways = tuple(pods), tuple(gateways)
        self._added_rules = sum(
            len(nft_encode.remember_rules(family)) + len(nft_encode.translated_rules(family)) for family in (4, 6)
        )
        self._generation = 0  # of the ruleset, as far as we made it
        self._left: nft_adopt.Left | None = None
        self._began = False
        self._in_doubt = False  # whether the kernel has what we believe: a change of it failed midway
        self._nft = nft
        self._clock = clock
        self._nursery = tasks.Nursery("kernel plane", on_failure=on_failure)
        self._state = nft_state.State(nft_state.Site(tuple(pods)))
        self._link: netlink.Netlink | None = None
        self._sequence = self._acked = 0
        self._refused: tuple[Nack, ...] = ()
        self._changed = asyncio.Event()
        self._settled = asyncio.Condition()
        self._lock = asyncio.Lock()  # the writer's socket has one user at a time
        self._turn = asyncio.Lock()  # from a decision to its commit, nobody else decides
        self._on_obstacles, self._on_repair = on_obstacles, on_repair
        self._accepted = accepted
        self.obstacles: tuple[str, ...] = ()
        self._seen: tuple[str, ...] = ()
        self.reloads = 0

    async def start(self) -> None:
        """Loads the unchanging part, or keeps what is left of an earlier life until the first table replaces it.

        Raises PlaneUnavailable.
        """
        try:
            self._link = netlink.Netlink()
        except OSError as error:
            raise PlaneUnavailable(f"no netfilter netlink here: {error.strerror}") from None
        if await self._with_link(nft_adopt.mark_of, self._table) == self._mark:
            self._left = await self._with_link(nft_adopt.read, self._table)
            self._state.prefer(self._left.numbers)
        else:
            await self._load()
        await self._with_link(self._open_way)
        self._tell_obstacles()
        self._nursery.keep(self._write, name="writer", clock=self._clock)
        self._nursery.keep(self._watch, name="guard", clock=self._clock)

    async def apply(self, structure: table.Structure) -> int:
        self._state.want_structure(structure)
        self._began = True
        return self._advance()

    async def apply_endpoints(self, delta: Sequence[table.BackendEndpoints]) -> int:
        self._state.want_endpoints(delta)
        return self._advance()

    async def acked(self, sequence: int) -> Ack:
        async with self._settled:
            await self._settled.wait_for(lambda: self._acked >= sequence)
        return Ack(self._acked, self.nacks)

    async def in_flight(self, address: str) -> int:
        told = await self._accepted(address, ())
        return len(await self._with_link(conntrack.established, address) if told is None else told)

    async def drained(self, address: str) -> int:
        told = await self._accepted(address, ())
        told = await self._until_none(told, lambda left: self._accepted(address, left or ()))
        if told is None:
            flows = await self._with_link(conntrack.established, address)
            await self._until_none(flows, lambda left: self._with_link(conntrack.left_of, address, left))
        return 0

    async def seen_out(self, doors: Sequence[str]) -> int:
        inner = self._state.inner_addresses()
        if inner is None:
            return 0
        found = await self._with_link(self._from_outside, inner)
        await self._until_none(found, lambda _: self._with_link(self._from_outside, inner))
        return 0

    async def _until_none(self, left: _Result, look: Callable[[_Result], Awaitable[_Result]]) -> _Result:
        """Looks again what is left, ever less often, until that is nothing (or nobody knows)."""
        wait, longest = _POLL_SECONDS
        while left:
            await self._clock.sleep(wait)
            wait = min(wait * 1.5, longest)
            left = await look(left)
        return left

    def _from_outside(self, link: netlink.Netlink, inner: frozenset[str]) -> bool:
        """Whether there is a connection to a pod that was made to an address for clients outside. (What is led to the
        engine ends at the gateway: nobody knows here whether anything is in flight on it.)"""
        pods = [ipaddress.ip_network(one) for one in self._pods]

        def is_pod(address: str) -> bool:
            return any(ipaddress.ip_address(address) in network for network in pods)

        return any(
            flow.meant not in inner and flow.meant != flow.answers and flow.answers not in self._gateways
            for flow in conntrack.every_established(link, families={network.version for network in pods})
            if is_pod(flow.answers) and not is_pod(flow.source)
        )

    async def close(self, *, purge: bool = False) -> None:
        """Lets go; the rules stay and work. With `purge` the table is deleted."""
        await self._nursery.close()
        if self._link is not None:
            if purge:
                delete_table(self._table)
            self._link.close()
            self._link = None

    @property
    def nacks(self) -> tuple[Nack, ...]:
        """What of the table is not carried now."""
        return (*self._refused, *self._state.nacks)

    def _advance(self) -> int:
        self._sequence += 1
        self._changed.set()
        return self._sequence

    async def _write(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            sequence = self._sequence
            try:
                await self._write_all()
            except BaseException:
                self._in_doubt = True
                self._changed.set()  # for the next attempt
                raise
            async with self._settled:
                self._acked = sequence
                self._settled.notify_all()

    async def _write_all(self) -> None:
        self._refused = ()
        async with self._turn:
            if self._in_doubt:
                await self._with_link(self._open_anew)
                await self._rebuild(netlink.NetlinkError(errno.EIO))
                self._left, self._in_doubt = None, False
            if self._left is not None and self._began:
                await self._adopt()
        while self._state.dirty and self._left is None:
            async with self._turn:
                await self._commit(await self._collect())

    def _open_anew(self, link: netlink.Netlink) -> None:
        """Another socket: answers that were not waited for may still come to the old one."""
        self._link = netlink.Netlink()
        link.close()

    async def _collect(self) -> nft_rules.Transaction:
        """All that is to be changed, a little in each turn of the loop."""
        change = self._state.begin()
        while self._state.dirty:
            self._state.take_into(change, limit=STEP_BACKENDS)
            await asyncio.sleep(0)
        return change

    async def _adopt(self) -> None:
        """The first table of this life, as one change of what the last one left."""
        left, self._left = self._left, None
        assert left is not None
        change = await self._collect()
        stale = nft_adopt.settle(left, change)
        await self._commit(change, before=nft_encode.raw_deletions(self._table, stale))
        await self._with_link(self._forget_strangers)

    async def _commit(self, change: nft_rules.Transaction, *, before: Sequence[nft_encode.Message] = ()) -> None:
        try:
            await self._with_link(self._send, change, before)
        except netlink.NetlinkError as error:
            log.warning("the kernel refused a change; the table is written anew", problem=str(error))
            await self._rebuild(error)
        if change.left:
            await self._with_link(self._forget_clients, change)

    async def _rebuild(self, why: netlink.NetlinkError) -> None:
        """Writes the whole table anew; what is refused then is a Nack."""
        self.reloads += 1
        await self._load()
        self._state.forget_kernel()
        while self._state.dirty:
            try:
                await self._with_link(self._send, await self._collect())
            except netlink.NetlinkError as error:
                self._refused += (Nack("plane/kernel", "", f"the kernel refused a change: {error} (first: {why})"),)

    def _send(
        self, link: netlink.Netlink, change: nft_rules.Transaction, before: Sequence[nft_encode.Message] = ()
    ) -> None:
        self._commit_messages(link, [*before, *nft_encode.messages(self._table, change)])

    def _commit_messages(self, link: netlink.Netlink, messages: Sequence[nft_encode.Message]) -> None:
        if messages:
            link.commit(messages, family=nft_encode.NFPROTO_INET)
            self._generation += 1

    def _forget_clients(self, link: netlink.Netlink, change: nft_rules.Transaction) -> None:
        """No client is sent to an endpoint that left because it went there before.

        For UDP that includes the kernel's entries of connections, which have no end: they would keep their clients as
        long as those go on sending (kubernetes/kubernetes#139628).
        """
        for spread, (address, port) in change.left:
            if spread.protocol == "udp":
                conntrack.forget(link, address, protocol=socket.IPPROTO_UDP, port=port)
        left = {(spread.base, place): spread.family for spread, place in change.left if spread.affinity_seconds}
        for family in set(left.values()):
            self._forget_where(link, family, lambda member: member in left)

    def _forget_strangers(self, link: netlink.Netlink) -> None:
        """Of the clients that an earlier life remembered, only those of endpoints that are still there stay."""
        members = self._state.members()
        for family in (4, 6):
            self._forget_where(link, family, lambda member: member not in members)

    def _forget_where(
        self, link: netlink.Netlink, family: int, test: Callable[[tuple[int, nft_rules.Place]], bool]
    ) -> None:
        clients = nft_encode.affinity_clients(link, self._table, family)
        stale = [(base, client) for base, client, place, _ in clients if test((base, place))]
        gone = nft_rules.Transaction(deleted=[(f"affinity{family}", key) for key in stale])
        self._commit_messages(link, nft_encode.messages(self._table, gone))

    async def _with_link(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        async with self._lock:
            running = asyncio.get_running_loop().run_in_executor(None, work, self._link, *arguments)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait({running})  # the thread uses the socket to its end, whatever we want
                raise

    async def _watch(self) -> None:
        """Looks once a second whether anybody else changed the ruleset, and repairs what is ours."""
        while True:
            await self._clock.sleep(GUARD_SECONDS)
            if self._left is not None:
                continue
            async with self._turn:
                problem = await self._with_link(self._check)
                self._tell_obstacles()
                if problem:
                    log.warning("somebody changed our rules; they are written anew", table=self._table, problem=problem)
                    try:
                        await self._rebuild(netlink.NetlinkError(errno.ENOENT))
                    except BaseException:
                        self._in_doubt = True
                        self._changed.set()
                        raise
                    self._on_repair(problem)

    def _check(self, link: netlink.Netlink) -> str:
        now = nft_check.generation(link)
        if now == self._generation and not self._seen:  # an owner's table goes with its owner, in no generation
            return ""
        self._open_way(link)
        self._generation = now  # what came meanwhile, from us or others, is looked at the next time
        return nft_check.difference(
            link,
            self._table,
            mark=self._mark,
            unchanging_rules=nft_skeleton.count_rules(self._text) + self._added_rules,
            parts=self._state.parts(),
        )

    def _open_way(self, link: netlink.Netlink) -> None:
        outcome = nft_forward.open_way(link, ours=self._table, pods=self._pods, gateways=self._gateways)
        self._seen = outcome.obstacles
        if outcome.opened:
            log.info("another tool drops what is forwarded; the pods' networks may pass", chains=outcome.opened)

    def _tell_obstacles(self) -> None:
        if self._seen != self.obstacles:
            self.obstacles = self._seen
            self._on_obstacles(self.obstacles)

    async def _load(self) -> None:
        process = await asyncio.create_subprocess_exec(
            self._nft, "-f", "-", stdin=-1, stdout=asyncio.subprocess.DEVNULL, stderr=-1
        )
        _, problem = await process.communicate(self._text.encode())
        if process.returncode:
            raise PlaneUnavailable(f"nft refused the table: {problem.decode(errors='replace').strip()}")
        rules = []
        for family in (4, 6):
            remember, translated = nft_encode.remember_rules(family), nft_encode.translated_rules(family)
            rules += nft_encode.append_rules(self._table, f"remember{family}", remember)
            rules += nft_encode.append_rules(self._table, f"translated{family}", translated)
        await self._with_link(self._commit_messages, rules)

    def __repr__(self) -> str:
        behind = f", {self._sequence - self._acked} behind" if self._sequence > self._acked else ""
        what = f"{len(self._state)} backends at {self._acked}{behind}, {len(self.nacks)} nacks"
        return f"<NftablesPlane {self._table}: {what}>"


def delete_table(name: str) -> None:
    """Deletes a cluster's table and its rules in chains of others; what is not there is nothing.

    Raises netlink.NetlinkError.
    """
    link = netlink.Netlink()
    try:
        nft_forward.close_way(link, ours=name)
        link.commit([nft_encode.delete_table(nft_skeleton.check_name(name))], family=nft_encode.NFPROTO_INET)
    except netlink.NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
    finally:
        link.close()
