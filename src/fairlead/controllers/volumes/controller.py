"""Runs PersistentVolumes and PersistentVolumeClaims, makes the default StorageClass, and the claims of `ephemeral`
volumes (KEP-1698: named POD-VOLUME, owned by the pod).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from fairlead.api import kinds
from fairlead.client import cache, informer
from fairlead.controllers import context, ownership, writes
from fairlead.controllers.volumes import claims, reclaiming
from fairlead.controllers.writes import Object

NAME = "persistent-volume-binder"
EPHEMERAL_NAME = "ephemeral-volume-controller"
CLASS = "fairlead"
_BY_CLAIM = "volumes/claim"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"


class Folders(Protocol):
    """Where volumes are made. `root` is absolute."""

    root: str

    async def remove(self, path: str) -> None:
        """Removes the folder of one volume; refuses (OSError) what is not below `root`."""


class Volumes:
    """The controllers of claims, volumes and ephemeral volumes."""

    def __init__(self, given: context.Context, *, folders: Folders | None) -> None:
        self._folders = folders
        self._claims = given.informers.of(kinds.PERSISTENT_VOLUME_CLAIM)
        self._volumes = given.informers.of(kinds.PERSISTENT_VOLUME)
        self._classes = given.informers.of(kinds.STORAGE_CLASS)
        self._pods = given.informers.of(kinds.POD)
        self._pods.cache.add_index(_BY_CLAIM, _claims_of)
        self.claims = given.runner(NAME, self._decide_claim, self._claims, self._volumes, self._classes, self._pods)
        self.volumes = given.runner(NAME, self._decide_volume, self._claims, self._volumes)
        self.ephemeral = given.runner(EPHEMERAL_NAME, self._decide_pod, self._pods, self._claims)
        self.classes = given.runner(NAME, self._decide_class, self._classes)
        self._claims.add_handler(self._claim_changed)
        self._volumes.add_handler(self._volume_changed)
        self._classes.add_handler(lambda _: self.claims.add_all(self._unbound()))
        self._pods.add_handler(self._pod_changed)

    def start(self) -> None:
        """Makes sure of the default class."""
        if self._folders is not None:
            self.classes.add(CLASS)

    def _claim_changed(self, change: informer.Change) -> None:
        self.claims.add(change.key)
        for state in (change.old, change.new):
            if state is not None and state["spec"].get("volumeName"):
                self.volumes.add(state["spec"]["volumeName"])

    def _volume_changed(self, change: informer.Change) -> None:
        self.volumes.add(change.key)
        reference = change.object["spec"].get("claimRef")
        if reference and reference.get("name"):
            self.claims.add(f"{reference.get('namespace', '')}/{reference['name']}")
        else:
            self.claims.add_all(self._unbound())

    def _pod_changed(self, change: informer.Change) -> None:
        if change.new is None:
            self.claims.add_all(_claims_of(change.object))
        elif change.old is None and any(True for _ in _ephemeral(change.new)):
            self.ephemeral.add(change.key)

    def _unbound(self) -> list[str]:
        return [cache.key_of(one) for one in self._claims.cache.list() if not one["spec"].get("volumeName")]

    def _decide_claim(self, key: str) -> writes.Decision:
        claim = self._claims.cache.get(key)
        if claim is None:
            return writes.NOTHING
        return claims.decide(
            claims.Snapshot(
                claim=claim,
                volumes=self._volumes.cache.list(),
                storage_class=self._classes.cache.get(str(claim["spec"].get("storageClassName") or "")),
                used=bool(self._pods.cache.indexed(_BY_CLAIM, key)),
                folder=self._folders.root if self._folders is not None else "",
            )
        )

    async def _decide_volume(self, key: str) -> writes.Decision:
        volume = self._volumes.cache.get(key)
        if volume is None:
            return writes.NOTHING
        reference = volume["spec"].get("claimRef") or {}
        claim = self._claims.cache.get(f"{reference.get('namespace', '')}/{reference.get('name', '')}")
        plan = reclaiming.decide(reclaiming.Snapshot(volume, claim))
        if plan.remove and self._folders is not None:
            await self._folders.remove(plan.remove)
        return plan.decision

    def _decide_pod(self, key: str) -> writes.Decision:
        pod = self._pods.cache.get(key)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return writes.NOTHING
        found: list[writes.Write] = []
        for name, template in _ephemeral(pod):
            present = self._claims.cache.get(f"{pod['metadata']['namespace']}/{name}")
            if present is None:
                found.append(writes.Create(kinds.PERSISTENT_VOLUME_CLAIM, _claim(pod, name, template)))
            elif not ownership.controls(pod, present):
                text = f"PVC {present['metadata']['namespace']}/{name} was not created for pod: another owner has it"
                found.append(writes.Note(pod, "Warning", "FailedCreate", text))
        return writes.Decision(tuple(found))

    def _decide_class(self, name: str) -> writes.Decision:
        if self._classes.cache.get(name) is not None:
            return writes.NOTHING
        others = any(
            (one["metadata"].get("annotations") or {}).get(_DEFAULT) == "true" for one in self._classes.cache.list()
        )
        body = {
            "metadata": {"name": name, "annotations": {_DEFAULT: "false" if others else "true"}},
            "provisioner": claims.PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
            "allowVolumeExpansion": True,
        }
        return writes.Decision((writes.Create(kinds.STORAGE_CLASS, body),))


def _claims_of(pod: Object) -> Iterable[str]:
    """An index: the claims that a pod names."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield f"{pod['metadata']['namespace']}/{volume['persistentVolumeClaim'].get('claimName', '')}"
    for name, _ in _ephemeral(pod):
        yield f"{pod['metadata']['namespace']}/{name}"


def _ephemeral(pod: Object) -> Iterator[tuple[str, Object]]:
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}", volume["ephemeral"].get("volumeClaimTemplate") or {}


def _claim(pod: Object, name: str, template: Object) -> Object:
    metadata = template.get("metadata") or {}
    given = {field: metadata[field] for field in ("labels", "annotations") if metadata.get(field)}
    owner = ownership.reference(kinds.POD, pod)
    return {
        "metadata": {**given, "name": name, "namespace": pod["metadata"]["namespace"], "ownerReferences": [owner]},
        "spec": template.get("spec") or {},
    }
