"""The last lines that a container printed before it failed: mostly the reason, where the state tells a number.

For people who watch something come up and have not asked for logs yet. What cannot be read is left out: it is an extra.
"""

from __future__ import annotations

from typing import Any

from fairlead.client import errors, protocol

Object = dict[str, Any]
LINES, WIDTH = 8, 300


async def read(client: protocol.Client, pod: Object) -> list[str]:
    """The lines of the first container of the Pod that failed; none where none did or nothing was printed."""
    found = _failed(pod.get("status") or {})
    if found is None:
        return []
    name, previous = found
    metadata = pod["metadata"]
    try:
        text = await client.log(
            metadata["name"],
            namespace=metadata["namespace"],
            container=name,
            previous=previous,
            tail_lines=LINES,
        )
    except errors.ApiError:
        return []
    return [line[:WIDTH] for line in text.rstrip().splitlines()[-LINES:]]


def _failed(status: Object) -> tuple[str, bool] | None:
    """(container, whether that was its life before this one)."""
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if _exit_code(one.get("state")):
            return one["name"], False
        if "waiting" in (one.get("state") or {}) and _exit_code(one.get("lastState")):
            return one["name"], True
    return None


def _exit_code(state: Object | None) -> int:
    return int(((state or {}).get("terminated") or {}).get("exitCode") or 0)
