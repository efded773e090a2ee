"""From a container's spec to one start of it: command, environment, identity, folder, or the reason why it cannot be.

Every refusal is a StartFailed with the kubelet's word: CreateContainerConfigError for what the manifest names and
nobody has, ErrImageNeverPull for an image that nothing here can run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.api import kinds
from fairlead.client import errors
from fairlead.node import env, expand, identity, images, records, runtime, settings

Object = dict[str, Any]
_DEFAULT_PORT = 8080
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KIND = {"ConfigMap": kinds.CONFIG_MAP, "Secret": kinds.SECRET}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pod is: its address, whether it shares the host's network, its folder."""

    ip: str
    host_ip: str
    own_network: bool
    folder: Path
    node_cpu: float
    node_memory_bytes: int


class Planner:
    """Makes plans with what the node knows."""

    def __init__(self, node: settings.NodeSettings, doors: settings.Doors) -> None:
        self._node = node
        self._doors = doors

    async def plan(
        self, pod: Object, container: Object, record: records.PodRecord, place: Place, *, restarts: int = 0
    ) -> runtime.ContainerPlan:
        """One start of that container. Raises StartFailed."""
        image = container.get("image") or ""
        mapped = self._doors.images.find(image)
        if mapped is None and not container.get("command"):
            raise runtime.StartFailed("ErrImageNeverPull", images.ways_out(image))
        try:
            who = identity.resolve(
                pod, container, asked=self._node.asked, owner=mapped.owner if mapped is not None else None
            )
            values = await self.environment(pod, container, record, place, mapped=mapped, who=who)
        except (identity.IdentityProblem, env.EnvProblem) as error:
            raise runtime.StartFailed("CreateContainerConfigError", str(error)) from error
        known = record.container(container["name"])
        context = container.get("securityContext") or {}
        return runtime.ContainerPlan(
            name=container["name"],
            image=image,
            argv=_argv(container, mapped, values),
            env=values,
            cwd=_cwd(container, mapped, who),
            log=str(place.folder / "logs" / container["name"] / f"{restarts}.log"),
            attempt=known.attempts,
            credentials=who,
            no_new_privs=not context.get("allowPrivilegeEscalation", False),
        )

    async def environment(
        self,
        pod: Object,
        container: Object,
        record: records.PodRecord,
        place: Place,
        *,
        mapped: images.ImageCommand | None,
        who: runtime.Credentials,
    ) -> dict[str, str]:
        """The container's whole environment. Raises EnvProblem."""
        needed = env.references(container)
        namespace = pod["metadata"]["namespace"]
        found = dict(zip(needed, await asyncio.gather(*(self._fetch(namespace, key) for key in needed)), strict=True))
        facts = env.Facts(
            pod,
            self._node.name,
            place.host_ip,
            place.ip,
            place.node_cpu,
            place.node_memory_bytes,
            found,
            await self._services(pod),
        )
        base = {**self._base(pod, container, record, place, who), **(mapped.env if mapped is not None else {})}
        return env.build(container, facts, base)

    def _base(
        self, pod: Object, container: Object, record: records.PodRecord, place: Place, who: runtime.Credentials
    ) -> dict[str, str]:
        home, user = identity.home(who)
        port = first_port(container)
        return {
            "PATH": os.environ.get("PATH", _DEFAULT_PATH),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": home,
            "USER": user,
            **self._node.environ,
            "HOSTNAME": hostname(pod),
            "HOST": "0.0.0.0" if place.own_network else place.ip,  # noqa: S104 - the pod's own network
            "PORT": str(record.ports.get(str(port), port)),
        }

    async def _fetch(self, namespace: str, key: env.Key) -> Object | None:
        try:
            return await self._doors.client.get(_KIND[key[0]], key[1], namespace=namespace)
        except errors.ApiError as error:
            if error.not_found:
                return None
            raise env.EnvProblem(f"{key[0]} {namespace}/{key[1]} cannot be read: {error}") from error

    async def _services(self, pod: Object) -> Sequence[Object]:
        if self._doors.services is None:
            return []
        found: list[Object] = []
        namespace = pod["metadata"]["namespace"]
        if pod["spec"].get("enableServiceLinks", True):
            found += await self._doors.services.services(namespace)
        if not any(entry["metadata"]["name"] == "kubernetes" for entry in found):
            master = await self._doors.services.services("default")
            found = [entry for entry in master if entry["metadata"]["name"] == "kubernetes"] + found
        return found


class ListedServices:
    """A ServiceSource over an informer's cache."""

    def __init__(self, doors: settings.Doors) -> None:
        self._informer = doors.informers.of(kinds.SERVICE)

    async def services(self, namespace: str) -> Sequence[Object]:
        return sorted(self._informer.cache.list(namespace), key=lambda entry: str(entry["metadata"]["name"]))


def first_port(container: Object) -> int:
    """The port that `$PORT` names: the first declared, else 8080."""
    ports = container.get("ports") or []
    return int(ports[0]["containerPort"]) if ports else _DEFAULT_PORT


def declared_ports(pod: Object) -> list[int]:
    """Every TCP port that the pod's containers may listen on."""
    found: list[int] = []
    for container in pod["spec"]["containers"]:
        declared = [int(entry["containerPort"]) for entry in container.get("ports") or []]
        found += declared or [_DEFAULT_PORT]
    return sorted(set(found))


def hostname(pod: Object) -> str:
    """What the pod calls itself: spec.hostname, else its name, at most 63 characters."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def _argv(container: Object, mapped: images.ImageCommand | None, values: Mapping[str, str]) -> tuple[str, ...]:
    command = expand.expand_all(container.get("command") or (), values)
    if not command and mapped is not None:
        command = expand.expand_all(mapped.command, values)
    return command + expand.expand_all(container.get("args") or (), values)


def _cwd(container: Object, mapped: images.ImageCommand | None, who: runtime.Credentials) -> str:
    wanted = container.get("workingDir")
    if wanted and (mapped is None or Path(wanted).is_dir()):
        return str(wanted)
    if mapped is not None:
        return mapped.folder
    home, _ = identity.home(who)
    return home if Path(home).is_dir() else "/"
