"""What a user must know of what was brought up: why something is not ready, and what nothing will ever reach."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from fairlead.api import kinds
from fairlead.cli import apply, board, known, silence
from fairlead.client import protocol
from fairlead.cluster import state
from fairlead.routing import draft, emptiness

Object = dict[str, Any]
PATIENCE_SECONDS = 1.5  # with an application that has just begun and has no readiness probe


async def not_ready(client: protocol.Client, late: Iterable[board.Row]) -> list[str]:
    """A line for each: its state, and the last warning about it where the state alone says little."""
    rows = list(late)
    if not rows:
        return []
    said: dict[str, str] = {}
    for event in (await client.list(kinds.EVENT, field_selector="type=Warning")).items:
        about = event.get("involvedObject") or {}
        said[board.title(about.get("kind", ""), about.get("namespace", ""), about.get("name", ""))] = event["message"]
    return [f"{row.title}: {_detail(row, said.get(row.title, ''))}" for row in rows]


def _detail(row: board.Row, warning: str) -> str:
    detail = row.detail or row.state
    return f"{detail}: {warning}" if warning and row.state != "failed" else detail


async def wrong(client: protocol.Client, folder: state.StateFolder, planned: Iterable[apply.Planned]) -> list[str]:
    """What of these objects leads nowhere, though the API took them: each is an Event or a condition, too."""
    titles = {f"{one.kind.kind}/{one.namespace}/{one.name}" for one in planned if one.namespace}
    if not titles:
        return []
    found = await known.read(client, folder)
    lines = [str(one) for one in found.translation.problems if one.object in titles]
    lines += await empty(client, found, titles)
    if folder.read().network != "rootless":
        silent = await silence.silent(client, found.slices, titles, patience_seconds=PATIENCE_SECONDS)
        lines += [f"{door.service}: {door}: is that the port that it listens on (targetPort)?" for door in silent]
    return lines


async def empty(client: protocol.Client, found: known.Known, titles: set[str]) -> list[str]:
    """The Services among them that have no endpoint, and cannot have one as they are."""
    services = [one for one in found.snapshot.services if _title(one) in titles and one["spec"].get("selector")]
    spaces = sorted({one["metadata"]["namespace"] for one in services})
    pages = await asyncio.gather(*(client.list(kinds.POD, namespace=space) for space in spaces))
    pods = {space: page.items for space, page in zip(spaces, pages, strict=True)}
    reasons = [(_title(one), emptiness.reason(one, pods[one["metadata"]["namespace"]])) for one in services]
    return [f"{title}: {reason}" for title, reason in reasons if reason]


def _title(service: Object) -> str:
    return f"Service/{draft.key(service)}"
