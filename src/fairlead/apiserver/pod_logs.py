"""The log subresource: options checked, the container found, the rest is the node agent's."""

from __future__ import annotations

from typing import Any

from fairlead.apiserver import pod_door, requests, status
from fairlead.base import clock as clocks
from fairlead.client import errors, exchange

Object = dict[str, Any]


def container_of(pod: Object, wanted: str, *, annotation: bool = True) -> str:
    """The container that is meant: the named one, the default one, the only one. Raises ApiError 400."""
    spec, name = pod.get("spec") or {}, pod["metadata"]["name"]
    known = [
        c["name"] for field in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(field) or ()
    ]
    if wanted:
        if wanted not in known:
            raise status.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    regular = [container["name"] for container in spec.get("containers") or ()]
    if annotation:
        default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
        if default in known:
            return str(default)
    if len(regular) == 1:
        return str(regular[0])
    choices = " ".join(regular)
    raise status.bad_request(f"a container name must be specified for pod {name}, choose one of: [{choices}]")


def _number(info: requests.Info, name: str) -> int | None:
    return info.number(name) if info.first(name) else None


def refusal(error: pod_door.DoorError) -> errors.ApiError:
    """What the node agent refused, as a Status."""
    reasons = {400: "BadRequest", 404: "NotFound", 501: "NotImplemented"}
    return status.failure(error.code, reasons.get(error.code, "InternalError"), str(error))


async def answer(pod: Object, info: requests.Info, door: pod_door.PodDoor | None) -> exchange.Response:
    """The log as text. Raises ApiError."""
    container = container_of(pod, info.first("container"))
    if door is None:
        raise status.unavailable("no node agent is connected that could read the log")
    seconds, since = _number(info, "sinceSeconds"), None
    if seconds is not None:
        import time

        since = time.time() - seconds
    elif info.first("sinceTime"):
        try:
            since = clocks.parse_rfc3339(info.first("sinceTime"))
        except ValueError as error:
            raise status.bad_request(f"sinceTime: {error}") from error
    options = pod_door.LogOptions(
        container,
        info.flag("follow"),
        info.flag("previous"),
        info.flag("timestamps"),
        since,
        _number(info, "tailLines"),
        _number(info, "limitBytes"),
    )
    try:
        stream = await door.logs(pod, options)
    except pod_door.DoorError as error:
        raise refusal(error) from error
    return exchange.Response(200, {"content-type": "text/plain"}, stream=stream)
