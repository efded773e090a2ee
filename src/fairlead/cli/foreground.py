"""A cluster in this process, until Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import Any

import fairlead
from fairlead.base import log
from fairlead.cli import bringup, serving
from fairlead.cluster import config, imagefile, wiring


def run(plan: bringup.Plan, wanted: config.ClusterConfig, how: dict[str, Any]) -> None:
    """Brings the plan up, and takes it down when asked. Raises CannotStart."""
    fresh = not plan.folder.exists()

    async def work(cluster: wiring.Cluster, stop: asyncio.Event) -> None:
        plan.folder.remember(how)
        record = plan.folder.read()
        bringup.say(
            f"fairlead {fairlead.__version__}, cluster {wanted.name}, "
            f"network {record.network} ({record.network_reason})"
        )
        if not fresh:
            bringup.say(
                f"state     {plan.folder.path} is kept from before: what is in it comes up, too, and stays in it"
            )
        coming = asyncio.ensure_future(plan.bring_up(cluster.client))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((coming, stopping), return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            bringup.say(plan.outcome(coming.result(), "Ctrl-C takes everything down"))
        coming.cancel()
        following = asyncio.ensure_future(plan.follow(cluster.client)) if plan.follow and not stop.is_set() else None
        await stopping
        if following is not None:
            following.cancel()
        bringup.say("going down: no request is cut")

    plan.folder.create()
    imagefile.add(plan.folder.images, plan.entries, folder=plan.owner)
    try:
        with (plan.folder.log / "fairlead.log").open("a") as stream:
            log.configure(stream=stream)
            serving.run(plan.folder, wanted, work)
    finally:
        if wanted.ephemeral and fresh and not plan.folder.holder():
            plan.folder.remove()
