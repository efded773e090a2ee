"""Namespaces: those that must exist are made, and one that is deleted is emptied first.

Follows Kubernetes' `pkg/controller/namespace`: every object of every namespaced kind is deleted, pods with their
grace; when nothing is left the finalizer `kubernetes` is taken away. Meanwhile the condition
NamespaceContentRemaining says what is left. Every namespace gets the ServiceAccount `default` and the ConfigMap
`kube-root-ca.crt` (when a CA is given).
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.api import kinds
from fairlead.api.kinds import Kind
from fairlead.client import errors, informer, protocol
from fairlead.controllers import conditions, context, writes
from fairlead.controllers.writes import Object

NAME = "namespace-controller"
NEEDED = ("default", "kube-system", "kube-public", "kube-node-lease")
ROOT_CA = "kube-root-ca.crt"
LOOK_AGAIN_SECONDS = 1.0


class Namespaces:
    """The controller; keys are names."""

    def __init__(self, given: context.Context, *, emptied: Sequence[Kind], root_ca_pem: str) -> None:
        self._client: protocol.Client = given.client_for(NAME)
        self._clock = given.clock
        self._kinds = [kind for kind in emptied if kind.namespaced]
        self._root_ca = root_ca_pem
        self._namespaces = given.informers.of(kinds.NAMESPACE)
        self._accounts = given.informers.of(kinds.SERVICE_ACCOUNT)
        self._maps = given.informers.of(kinds.CONFIG_MAP)
        self._pods = given.informers.of(kinds.POD)
        self.runner = given.runner(NAME, self._decide, self._namespaces, self._accounts, self._maps)
        self._namespaces.add_handler(lambda change: self.runner.add(change.key))
        self._accounts.add_handler(self._content_changed)
        self._maps.add_handler(self._content_changed)
        self._pods.add_handler(self._content_changed)

    def start(self) -> None:
        """Makes sure of the namespaces that must exist."""
        self.runner.add_all(NEEDED)

    def add(self, kind: Kind) -> None:
        """Empties namespaces of one more kind (a custom one)."""
        if kind.namespaced and kind not in self._kinds:
            self._kinds.append(kind)

    def remove(self, kind: Kind) -> None:
        """That kind is no longer served."""
        if kind in self._kinds:
            self._kinds.remove(kind)

    def _content_changed(self, change: informer.Change) -> None:
        if change.new is None:
            self.runner.add(change.object["metadata"]["namespace"])

    async def _decide(self, name: str) -> writes.Decision:
        namespace = self._namespaces.cache.get(name)
        if namespace is None:
            if name in NEEDED:
                return writes.Decision((writes.Create(kinds.NAMESPACE, {"metadata": {"name": name}}),))
            return writes.NOTHING
        if "deletionTimestamp" in namespace["metadata"]:
            return await self._empty(namespace)
        return writes.Decision(tuple(self._content(name)))

    def _content(self, name: str) -> list[writes.Write]:
        """What every namespace has."""
        found: list[writes.Write] = []
        if self._accounts.cache.get(f"{name}/default") is None:
            body = {"metadata": {"name": "default", "namespace": name}}
            found.append(writes.Create(kinds.SERVICE_ACCOUNT, body))
        if self._root_ca:
            data = {"ca.crt": self._root_ca}
            known = self._maps.cache.get(f"{name}/{ROOT_CA}")
            if known is None:
                found.append(
                    writes.Create(kinds.CONFIG_MAP, {"metadata": {"name": ROOT_CA, "namespace": name}, "data": data})
                )
            elif known.get("data") != data:
                found.append(writes.Update(kinds.CONFIG_MAP, {**known, "data": data}))
        return found

    async def _empty(self, namespace: Object) -> writes.Decision:
        name = namespace["metadata"]["name"]
        if "kubernetes" not in (namespace.get("spec") or {}).get("finalizers", ()):
            return writes.NOTHING
        left: dict[str, int] = {}
        for kind in self._kinds:
            if count := await self._delete_all(kind, name):
                left[str(kind)] = count
        if not left:
            return _finalize(namespace)
        status = _remaining(namespace, left, self._clock.now())
        changes: tuple[writes.Write, ...] = ()
        if not conditions.same_status(namespace.get("status"), status):
            changes = (writes.Update(kinds.NAMESPACE, {**namespace, "status": status}, "status"),)
        return writes.Decision(changes, LOOK_AGAIN_SECONDS)

    async def _delete_all(self, kind: Kind, namespace: str) -> int:
        """Deletes what is there; returns how many are still there afterwards."""
        try:
            found = (await self._client.list(kind, namespace=namespace)).items
        except errors.ApiError as error:
            if error.not_found:  # not served: nothing can be left of it
                return 0
            raise
        for obj in found:
            if "deletionTimestamp" not in obj["metadata"]:
                await self._delete(kind, obj)
        return len((await self._client.list(kind, namespace=namespace, limit=500)).items) if found else 0

    async def _delete(self, kind: Kind, obj: Object) -> None:
        metadata = obj["metadata"]
        try:
            await self._client.delete(
                kind, metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"], propagation="Background"
            )
        except errors.ApiError as error:
            if not error.not_found:
                raise


def _finalize(namespace: Object) -> writes.Decision:
    left = [name for name in namespace["spec"]["finalizers"] if name != "kubernetes"]
    body = {**namespace, "spec": {**namespace["spec"], "finalizers": left}}
    return writes.Decision((writes.Update(kinds.NAMESPACE, body, "finalize"),))


def _remaining(namespace: Object, left: dict[str, int], now: float) -> Object:
    status = {**(namespace.get("status") or {}), "phase": "Terminating"}
    text = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(left.items()))
    found = conditions.put(
        status.get("conditions") or [],
        type_="NamespaceContentRemaining",
        status="True",
        reason="SomeResourcesRemain",
        message=f"Some resources are remaining: {text}",
        now=now,
    )
    return {**status, "conditions": found}
