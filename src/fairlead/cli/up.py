"""`fairlead up`: manifests in, traffic flowing. In the foreground until Ctrl-C, or with -d in the background."""

from __future__ import annotations

import time
from typing import Any

import click

from fairlead.cli import apply, bringup, failure, images, launch, options, source
from fairlead.cluster import config, state


@click.command("up")
@options.name
@options.serving
@options.launching
@click.option("--image", "image_flags", multiple=True, metavar="NAME=COMMAND", help="Run this image by this command.")
@click.option("--dry-run", is_flag=True, help="Only say what would be created, changed and routed, and every mistake.")
@click.argument("paths", nargs=-1, metavar="FILE|DIR|-")
def command(name: str, paths: tuple[str, ...], dry_run: bool, **how: Any) -> None:
    """Bring manifests up on a local cluster, with traffic flowing through all of it, until Ctrl-C (with -d: until
    `fairlead down`). Without manifests: what the cluster has from before, and whatever kubectl applies."""
    started = time.monotonic()
    found = source.read(paths) if paths else source.Sources()
    planned = apply.plan(found.manifests)
    entries = images.collect(found.image_maps, how.pop("image_flags"))
    try:
        folder = state.StateFolder.of(name)
    except state.StateError as error:
        raise failure.Failure(str(error)) from None
    plan = bringup.Plan(folder, planned, entries, found.folder, how.pop("timeout"), started)
    if dry_run:
        _rehearse(plan, how)
    else:
        launch.launch(plan, **how)


def _rehearse(plan: bringup.Plan, how: dict[str, Any]) -> None:
    """Says what the plan would do. Raises Failure."""
    import asyncio

    from fairlead.cli import rehearse

    how = {key: value for key, value in how.items() if key not in ("detach", "keep")}
    try:
        wanted = options.configured(plan.folder.name, ephemeral=True, **how)
    except config.AddressError as error:
        raise failure.Failure(str(error)) from None
    asyncio.run(rehearse.Rehearsal(plan, wanted).run())
