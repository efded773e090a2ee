"""From a container's spec to one start of it: command, environment, identity, folder, or the reason why it cannot be.

Every refusal is a StartFailed with the kubelet's word: CreateContainerConfigError for what the manifest names and
nobody has, ErrImageNeverPull for an image that nothing here can run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.api import kinds, quantity
from fairlead.base import secret
from fairlead.client import errors
from fairlead.node import (
    cgroups,
    claims,
    dns,
    env,
    expand,
    identity,
    images,
    new_files,
    pod_files,
    pull_secrets,
    records,
    runtime,
    settings,
    tokens,
    volume_content,
    volumes,
)

Object = dict[str, Any]
_DEFAULT_PORT = 8080
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
_KIND = {"ConfigMap": kinds.CONFIG_MAP, "Secret": kinds.SECRET}
VOLUMES_ANNOTATION = "fairlead.dev/volumes"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pod is: its address, whether it shares the host's network, its folder."""

    ip: str
    host_ip: str
    own_network: bool
    folder: Path
    node_cpu: float
    node_memory_bytes: int
    volumes: volumes.PodVolumes
    runtime: runtime.Runtime
    second_ip: str = ""
    second_host_ip: str = ""
    memory: Path | None = None  # where files are that are generated for the pod, if not in the folder

    @property
    def has_images(self) -> bool:
        """Whether images themselves run here."""
        return self.runtime.name == "container"

    @property
    def small(self) -> Path:
        """Where files are that are generated for the pod."""
        return self.memory or self.folder


class Planner:
    """Makes plans with what the node knows."""

    def __init__(self, node: settings.NodeSettings, doors: settings.Doors) -> None:
        self._node = node
        self._doors = doors
        self.holder: Callable[[Object, str], str] = lambda pod, claim: ""  # who else uses a claim of one pod at a time
        self.tokens = tokens.Tokens(doors.client, clock=doors.clock)

    async def plan(
        self, pod: Object, container: Object, record: records.PodRecord, place: Place, *, restarts: int = 0
    ) -> runtime.ContainerPlan:
        """One start of that container. Raises StartFailed."""
        image = container.get("image") or ""
        mapped = None if place.has_images else self._doors.images.find(image)
        if mapped is None and not container.get("command") and not place.has_images:
            raise runtime.StartFailed("ErrImageNeverPull", images.ways_out(image))
        try:
            who = identity.resolve(
                pod,
                container,
                asked=runtime.Credentials() if place.has_images else self._node.asked,
                owner=mapped.owner if mapped is not None else None,
                has_images=place.has_images,
            )
            folders = await self._folders(pod, container, place, who=who)
            values = await self.environment(pod, container, record, place, mapped=mapped, who=who, folders=folders)
            limits = cgroups.limits_of(container)
            capabilities = _capabilities(container)
        except (identity.IdentityProblem, env.EnvProblem, quantity.QuantityError) as error:
            raise runtime.StartFailed("CreateContainerConfigError", str(error)) from error
        mounts, files = await self._mounts(pod, container, record, place, values=values, who=who)
        made = self._doors.cgroups
        groups = (
            {} if place.has_images or made is None else made.plan(pod["metadata"]["uid"], container["name"], limits)
        )
        known, own = record.container(container["name"]), f"/{pod['metadata']['uid']}/{container['name']}"
        context = container.get("securityContext") or {}
        return runtime.ContainerPlan(
            name=container["name"],
            image=image,
            argv=_argv(container, mapped, values, with_args=not place.has_images or bool(container.get("command"))),
            args=expand.expand_all(container.get("args") or (), values),
            env=values,
            cwd=container.get("workingDir") or "" if place.has_images else _cwd(container, mapped, who, mounts),
            log=f"{place.folder}/logs/{container['name']}/{restarts}.log",
            attempt=known.attempts,
            credentials=who,
            mounts=mounts,
            capabilities=capabilities,
            cgroups=tuple(path for path in groups if path.endswith(own)),
            make_cgroups=groups,
            rlimits={} if self._enforced(place) else cgroups.instead(limits),
            files=files,
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
            pull_policy=container.get("imagePullPolicy") or _pull_policy(image),
            pull_secrets=await self._pull_secrets(pod, image) if place.has_images else (),
            memory_bytes=limits.memory_bytes,
            cpu_cores=limits.cpu_cores,
            stdin=bool(container.get("stdin")),
            stdin_once=bool(container.get("stdinOnce")),
            tty=bool(container.get("tty")),
            no_new_privs=not context.get("allowPrivilegeEscalation", False),
        )

    async def _pull_secrets(self, pod: Object, image: str) -> tuple[secret.Secret, ...]:
        """Those of the pod's that are for this image; one that is not there is told, and the pull tried without."""
        names = [str(one.get("name")) for one in pod["spec"].get("imagePullSecrets") or () if one.get("name")]
        try:
            found = [await self._fetch(pod, ("Secret", name)) for name in names]
        except env.EnvProblem as error:
            raise runtime.StartFailed("CreateContainerConfigError", str(error)) from error
        if missing := [name for name, one in zip(names, found, strict=True) if one is None]:
            why = f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to pull the image may"
            self._doors.recorder.event(pod, "Warning", "FailedToRetrieveImagePullSecret", f"{why} not succeed.")
        return pull_secrets.headers(image, [one for one in found if one is not None])

    def _enforced(self, place: Place) -> bool:
        made = self._doors.cgroups
        return place.runtime.own_limits or (not place.has_images and made is not None and not made.why)

    async def environment(
        self,
        pod: Object,
        container: Object,
        record: records.PodRecord,
        place: Place,
        *,
        mapped: images.ImageCommand | None,
        who: runtime.Credentials,
        folders: Mapping[str, str],
    ) -> dict[str, str]:
        """The container's whole environment. Raises EnvProblem."""
        facts = await self.facts(pod, place, env.references(container), services=await self._services(pod))
        own = self._base(pod, container, record, place, who)
        base = {**own, **folders, **(mapped.env if mapped is not None else {})}
        return env.build(container, facts, base)

    async def facts(
        self, pod: Object, place: Place, needed: set[env.Key], *, services: Sequence[Object] = ()
    ) -> env.Facts:
        """What references may name, with the objects that are needed. Raises EnvProblem when they cannot be read."""
        return env.Facts(
            pod,
            self._node.name,
            place.host_ip,
            place.ip,
            place.node_cpu,
            place.node_memory_bytes,
            {key: await self._fetch(pod, key) for key in needed},
            services,
            second_host_ip=place.second_host_ip,
            second_pod_ip=place.second_ip,
        )

    async def _mounts(
        self,
        pod: Object,
        container: Object,
        record: records.PodRecord,
        place: Place,
        *,
        values: Mapping[str, str],
        who: runtime.Credentials,
    ) -> tuple[tuple[runtime.Mount, ...], tuple[runtime.NewFile, ...]]:
        if not place.runtime.can_mount:
            return (), ()
        resolver = self._resolver(pod, place)
        own, files = pod_files.mounts(pod, container, record, place.small, resolver=resolver, who=who)
        if not container.get("volumeMounts"):
            return own, files
        files += await self._prepare(pod, container, place, who=who)
        try:
            return own + place.volumes.mounts(pod, container, values), files
        except volume_content.VolumeProblem as error:
            raise _not_mounted(error) from error

    def _resolver(self, pod: Object, place: Place) -> dns.Config:
        """What the pod's /etc/resolv.conf says; what did not fit is told in an Event."""
        host = dns.of_host()
        if place.own_network:
            host = dns.without_loopback(host, self._node.dns)
        formed = dns.form(pod, host=host, cluster=self._node.dns)
        for problem in formed.problems:
            self._doors.recorder.event(pod, "Warning", "DNSConfigForming", problem)
        return formed.config

    async def _prepare(
        self, pod: Object, container: Object, place: Place, *, who: runtime.Credentials
    ) -> tuple[runtime.NewFile, ...]:
        try:
            facts = await self.facts(pod, place, volumes.references(pod, container))
            return await place.volumes.prepare(pod, container, facts, who=who)
        except (env.EnvProblem, volume_content.VolumeProblem) as error:
            raise _not_mounted(error) from error

    async def _folders(
        self, pod: Object, container: Object, place: Place, *, who: runtime.Credentials
    ) -> dict[str, str]:
        """Where nothing can be mounted: the volumes' folders as variables, for a pod that asks for that."""
        wanted = {mount["name"] for mount in container.get("volumeMounts") or []}
        if place.runtime.can_mount or not wanted:
            return {}
        if (pod["metadata"].get("annotations") or {}).get(VOLUMES_ANNOTATION) == "folders":
            new_files.write(await self._prepare(pod, container, place, who=who))
            named = [one for one in pod["spec"].get("volumes") or [] if one["name"] in wanted]
            return {volume_variable(one["name"]): str(place.volumes.folder_of(one)) for one in named}
        if all(name.startswith(volumes.ACCOUNT_PREFIX) for name in wanted):
            return {}  # nobody asked for the account's token: it is told in an Event where an account is named
        raise runtime.StartFailed("CreateContainerConfigError", _NO_MOUNTS)

    def _base(
        self, pod: Object, container: Object, record: records.PodRecord, place: Place, who: runtime.Credentials
    ) -> dict[str, str]:
        port = first_port(container)
        if place.has_images:
            shared = {"HOST": place.ip, "PORT": str(record.ports.get(str(port), port))}
            return {"HOSTNAME": hostname(pod), **({} if place.own_network else shared)}
        home, user = identity.home(who)
        return {
            "PATH": os.environ.get("PATH", _DEFAULT_PATH),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": home,
            "USER": user,
            **self._node.environ,
            "HOSTNAME": hostname(pod),
            "HOST": _everywhere(place.ip) if place.own_network else place.ip,
            "PORT": str(record.ports.get(str(port), port)),
            **({} if place.runtime.can_mount else dns.variables(pod)),
        }

    async def _fetch(self, pod: Object, key: env.Key) -> Object | None:
        namespace = pod["metadata"]["namespace"]
        if key[0] == tokens.KIND:
            return await self.tokens.get(pod, key[1])
        if key[0] == claims.KIND:
            found = await claims.find(self._doors.client, namespace, key[1])
            holder = self.holder(pod, key[1]) if found["exclusive"] else ""
            if holder:
                why = f"volume uses the {claims.EXCLUSIVE} access mode and is already in use by another pod"
                raise env.EnvProblem(f'{why}: "{holder}" (claim "{key[1]}")')
            return found
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


_NO_MOUNTS = (
    "volumeMounts need a mount namespace, which fairlead may not make here. Two ways out: run fairlead as root "
    f"(network mode kernel), or annotate the pod with {VOLUMES_ANNOTATION}: folders, and the container finds each "
    "volume's folder in a variable such as $FAIRLEAD_VOLUME_CONFIG (in command and args: $(FAIRLEAD_VOLUME_CONFIG)), "
    "not at mountPath"
)


def volume_variable(name: str) -> str:
    """The variable that names the folder of that volume where nothing can be mounted."""
    if name.startswith(volumes.ACCOUNT_PREFIX):
        return "FAIRLEAD_SERVICEACCOUNT"
    return "FAIRLEAD_VOLUME_" + name.upper().replace("-", "_").replace(".", "_")


def _not_mounted(error: Exception) -> runtime.StartFailed:
    return runtime.StartFailed("ContainerCreating", str(error), event="FailedMount")


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
    """What the pod calls itself."""
    return pod_files.hostname(pod)


def _argv(
    container: Object, mapped: images.ImageCommand | None, values: Mapping[str, str], *, with_args: bool
) -> tuple[str, ...]:
    command = expand.expand_all(container.get("command") or (), values)
    if not command and mapped is not None:
        command = expand.expand_all(mapped.command, values)
    return command + (expand.expand_all(container.get("args") or (), values) if with_args else ())


def _pull_policy(image: str) -> str:
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _is_mounted(path: str, mounts: Sequence[runtime.Mount]) -> bool:
    return any(Path(path).is_relative_to(mount.target) for mount in mounts)


def _capabilities(container: Object) -> tuple[str, ...] | None:
    """The capabilities kept; None is the default set. Raises IdentityProblem for what no container may have."""
    context = container.get("securityContext") or {}
    if context.get("privileged"):
        raise identity.IdentityProblem(
            "privileged containers are not offered; a process pod has the default set at most"
        )
    asked = context.get("capabilities") or {}
    if not asked:
        return None
    kept = set(_DEFAULT_CAPABILITIES)
    dropped = {name.upper().removeprefix("CAP_") for name in asked.get("drop") or []}
    kept = set() if "ALL" in dropped else kept - dropped
    added = {name.upper().removeprefix("CAP_") for name in asked.get("add") or []}
    outside = added - set(_DEFAULT_CAPABILITIES)
    if outside:
        raise identity.IdentityProblem(
            f"capabilities {', '.join(sorted(outside))} are not offered; the most is {', '.join(_DEFAULT_CAPABILITIES)}"
        )
    return tuple(sorted(kept | added))


def _cwd(
    container: Object, mapped: images.ImageCommand | None, who: runtime.Credentials, mounts: Sequence[runtime.Mount]
) -> str:
    wanted = container.get("workingDir")
    if wanted and (mapped is None or Path(wanted).is_dir() or _is_mounted(wanted, mounts)):
        return str(wanted)
    if mapped is not None:
        return mapped.folder
    home, _ = identity.home(who)
    return home if Path(home).is_dir() else "/"


def _everywhere(ip: str) -> str:
    """All addresses of a pod's own network, of its first address family at least."""
    return "::" if ":" in ip else "0.0.0.0"  # noqa: S104
