"""Runs a cluster in this process until it is asked to stop: what `up` in the foreground and `serve` share.

SIGINT and SIGTERM stop it gently (drain, then end); a second one at once (pods are killed, connections cut).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from concurrent import futures

from fairlead.base import clock as clocks
from fairlead.base import garbage, handover, privilege, slices, tasks
from fairlead.base import log as logs
from fairlead.cli import notify
from fairlead.cluster import config, doorkeeper, errors, log_files, rootless, state, wiring

log = logs.get(__name__)
Work = Callable[[wiring.Cluster, asyncio.Event], Awaitable[None]]


def run(
    folder: state.StateFolder, wanted: config.ClusterConfig, work: Work, *, notifier: notify.Notifier | None = None
) -> None:
    """Starts the cluster, does `work` (which returns when the event is set), closes the cluster. Raises CannotStart."""
    outside = _namespaces(folder, wanted)  # before there is a thread
    import uvloop

    garbage.calm()
    handover.quick()
    slices.long()
    started = False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(folder, wanted, work, outside=outside, notifier=notifier))
        started = True
    finally:
        garbage.leave()
        if outside is not None:
            outside.close(started=started)


def _namespaces(folder: state.StateFolder, wanted: config.ClusterConfig) -> rootless.Outside | None:
    """Goes into namespaces of our own where rootless mode is asked for, or is the best that works."""
    if wanted.network not in ("auto", "rootless"):
        return None
    why = "asked for with --network"
    if wanted.network == "auto":
        if privilege.is_root() or folder.read().network == "loopback" or not doorkeeper.connector():
            return None
        why = "the best mode that works here; kernel: needs root"
    refused = rootless.reason_against()
    try:
        if not refused:
            return rootless.enter(folder, why)
    except rootless.CannotEnter as error:
        refused = str(error)
    if wanted.network == "auto":
        return None
    raise errors.CannotStart(f"rootless: {refused}; choose --network loopback")


async def _run(
    folder: state.StateFolder,
    wanted: config.ClusterConfig,
    work: Work,
    *,
    outside: rootless.Outside | None,
    notifier: notify.Notifier | None,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(futures.ThreadPoolExecutor(initializer=slices.long))
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    cluster = wiring.Cluster(folder, wanted, outside=outside)
    housework = _housework(folder, cluster.clock)
    if notifier is not None:
        housework.start(notifier.live(cluster.clock), name="watchdog")
    try:
        starting = asyncio.ensure_future(cluster.start())
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await work(cluster, stop)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    finally:
        await cluster.close(hurry=hurry)
        await housework.close()  # last: who ends, lives


def _housework(folder: state.StateFolder, clock: clocks.Clock) -> tasks.Nursery:
    made = tasks.Nursery("housework", on_failure=_failed)
    made.keep(lambda: garbage.tidy(clock), name="garbage", clock=clock)
    made.keep(lambda: log_files.keep_small(folder.log, clock=clock), name="logs", clock=clock)
    return made


def _failed(where: str, error: BaseException) -> None:
    log.error("a task failed; this is a bug", error=error, where=where)
