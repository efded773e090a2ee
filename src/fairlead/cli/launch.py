"""Starts a cluster for a set of objects, in this process or in the background: what `up` and `run` share.

A background process is started first; what this one needs to show it coming up is imported meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from typing import Any

from fairlead.cli import bringup, failure, options
from fairlead.cluster import config, errors, imagefile, state

_WHILE_IT_STARTS = ("fairlead.cli.remote", "fairlead.cli.progress", "fairlead.cli.remarks", "fairlead.cli.addresses")


def launch(plan: bringup.Plan, *, detach: bool, keep: bool, **how: Any) -> None:
    """Brings the plan up as the options say. Raises Failure."""
    try:
        wanted = options.configured(plan.folder.name, ephemeral=not keep, **how)
        if detach:
            _detached(plan, how)
        else:
            from fairlead.cli import foreground

            foreground.run(plan, wanted, how)
    except (state.StateError, config.AddressError, errors.CannotStart) as error:
        raise failure.Failure(str(error)) from None


def _detached(plan: bringup.Plan, how: dict[str, Any]) -> None:
    fresh, running = not plan.folder.exists(), plan.folder.holder()
    asked = options.given(how)
    if running:
        _refuse_changes(plan.folder, asked)
    elif not asked:
        asked = {key: value for key, value in plan.folder.options().items() if how.get(key, value) != value}
        if asked:
            bringup.say(f"options   {_words(asked)} (as it was started last; any option given replaces them all)")
    plan.folder.create()
    imagefile.add(plan.folder.images, plan.entries, folder=plan.owner)
    if not running:
        try:
            _spawn(plan.folder, asked)
        except NotStarted:
            if fresh:
                plan.folder.remove()
            raise
    asyncio.run(_apply_to_running(plan))


def _refuse_changes(folder: state.StateFolder, asked: dict[str, Any]) -> None:
    """Options say how a cluster starts: one that runs does not take others. Raises Failure."""
    before, network = folder.options(), folder.read().network
    differ = {
        key: value
        for key, value in asked.items()
        if before.get(key, value) != value and (key, value) != ("network", network)
    }
    if differ:
        raise failure.Failure(
            f"cluster {folder.name!r} runs already, and not with {_words(differ)}; to start it so: "
            f"fairlead down --name {folder.name}, then this command again"
        )


def _words(asked: dict[str, Any]) -> str:
    return " ".join(part for key, value in asked.items() for part in flag(key, value))


class NotStarted(failure.Failure):
    """The background process ended and said why."""


async def _apply_to_running(plan: bringup.Plan) -> None:
    from fairlead.cli import remote

    async with remote.connect(plan.folder.name) as (client, _):
        ready = await plan.bring_up(client)
    bringup.say(plan.outcome(ready, "`fairlead down` takes everything down"))
    if not ready:
        raise SystemExit(1)


def _spawn(folder: state.StateFolder, asked: dict[str, Any]) -> None:
    """Starts the background process and waits for its word. Raises NotStarted with it, Failure if it has none."""
    arguments = [part for key, given in asked.items() for part in flag(key, given)]
    read_end, write_end = os.pipe()
    with (folder.log / "fairlead.log").open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fairlead.cli.main",
                "serve",
                "--name",
                folder.name,
                "--ready-fd",
                str(write_end),
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            start_new_session=True,
            cwd="/",
        )
    os.close(write_end)
    for name in _WHILE_IT_STARTS:
        importlib.import_module(name)
    with os.fdopen(read_end) as words:
        word = words.readline().strip()
    if word != "ready":
        process.wait()
        if word:
            raise NotStarted(word)
        raise failure.Failure(f"the cluster did not start; see {folder.log / 'fairlead.log'}")


def flag(key: str, given: Any) -> list[str]:
    """An option as words of a command line."""
    name = "--" + key.replace("_", "-")
    if isinstance(given, bool):
        return [name] if given else []
    return [part for item in (given if isinstance(given, tuple) else (given,)) for part in (name, str(item))]
