"""Which function answers a request that has passed authorization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fairlead.api.schema import pack
from fairlead.apiserver import (
    aggregated,
    applying,
    backup,
    codec,
    delete,
    discovery,
    metrics,
    openapi,
    patching,
    pod_actions,
    pod_logs,
    read,
    refused,
    requests,
    resources,
    reviews,
    scaling,
    status,
    watching,
)
from fairlead.apiserver.streams import proxy
from fairlead.client import exchange

if TYPE_CHECKING:
    from fairlead.apiserver import chain

Object = dict[str, Any]
_HEALTH = ("/livez", "/readyz", "/healthz")


class Dispatcher:
    """Answers requests over the parts of a Chain."""

    def __init__(self, parts: chain.Chain) -> None:
        self._parts = parts
        self._writer = parts.writer
        self._documents = openapi.Documents(parts.registry)

    async def answer(self, info: requests.Info) -> exchange.Response:
        """The answer. Raises ApiError."""
        if not info.resource:
            if info.path == backup.PATH and info.method == "GET":
                return await backup.answer(self._parts.store, self._parts.folder)
            return self._other(info)
        if info.group in refused.GROUPS:
            refused.GROUPS[info.group].check(info)
        elsewhere = await aggregated.answer(self._parts.registry.mounted, info)
        if elsewhere is not None:
            return elsewhere
        review = reviews.find(info)
        if review is not None:
            return reviews.answer(review, info, self._parts.authorizer, self._parts.authenticator)
        resource = self._parts.registry.find(info.group, info.version, info.resource)
        if resource is None:
            raise status.no_such_path()
        if not resource.kind.namespaced and info.namespace and info.resource != "namespaces":
            raise status.no_such_path()
        if not resource.kind.namespaced:
            info.namespace = ""
        if resource.deprecation:
            info.warnings.append(resource.deprecation)
        if info.subresource:
            return await self._subresource(info, resource)
        return await self._plain(info, resource)

    async def _plain(self, info: requests.Info, resource: resources.Resource) -> exchange.Response:
        store = self._parts.store
        if info.verb == "get":
            return read.get(store, info, resource)
        if info.verb == "list":
            return await read.listing(store, info, resource)
        if info.verb == "watch":
            return watching.watch(store, info, resource, self._parts.watches)
        around = self._parts.around(info)
        if info.verb == "create":
            if info.name:
                raise status.method_not_allowed()
            obj = codec.read_object(info, resource)
            return _object(201, await self._writer.create(obj, info, resource, around))
        if info.verb == "patch" and info.name and patching.is_apply(info):
            return await self._apply(info, resource)
        if info.verb in ("update", "patch") and info.name:
            return _object(200, await self._change(info, resource))
        if info.verb == "delete":
            return await delete.delete(store, info, resource, around, self._writer)
        if info.verb == "deletecollection":
            return await delete.collection(store, info, resource, around, self._writer)
        raise status.method_not_allowed()

    async def _apply(self, info: requests.Info, resource: resources.Resource) -> exchange.Response:
        """Server-side apply: creates or changes."""
        around = self._parts.around(info)
        wanted = applying.read(info, resource)
        if self._parts.store.head(resource.key(info.namespace, info.name)) is None and not info.subresource:
            if wanted["metadata"].get("uid"):
                raise status.conflict(resource.kind, info.name, "uid mismatch: the object is not there any more")
            if not self._parts.may(info, "create"):
                raise self._parts.denied(info, "create")
            managers = applying.created(wanted, info, resource, around.now())
            return _object(201, await self._writer.create(wanted, info, resource, around, managers=managers))
        entry, old = self._writer.current(info, resource)
        version = wanted["metadata"].get("resourceVersion", "")
        if version and version != old["metadata"]["resourceVersion"]:
            raise status.conflict(resource.kind, info.name)
        obj = applying.applied(old, wanted, info, resource, around.now())
        return _object(200, await self._writer.update(obj, old, entry, info, resource, around))

    async def _change(self, info: requests.Info, resource: resources.Resource) -> bytes:
        around = self._parts.around(info)
        if info.verb == "update":
            known = self._parts.store.head(resource.key(info.namespace, info.name))
            obj = codec.read_object(info, resource, stored=known.value if known else b"")
            entry, old = self._writer.current(info, resource)
        else:
            entry, old = self._writer.current(info, resource)
            obj = patching.patched(old, info, resource)
        return await self._writer.update(obj, old, entry, info, resource, around)

    async def _subresource(self, info: requests.Info, resource: resources.Resource) -> exchange.Response:
        if info.subresource == "resize" and resource.kind.plural == "pods":
            text = "pods are not resized in place by fairlead; change the template of their owner, or make the pod anew"
            raise status.not_implemented(text)
        if not info.name or not resource.has(info.subresource):
            raise status.no_such_path()
        if info.subresource == "status" or (info.subresource == "finalize" and info.verb == "update"):
            if info.verb == "get":
                return read.get(self._parts.store, info, resource)
            if info.verb == "patch" and patching.is_apply(info):
                return await self._apply(info, resource)
            if info.verb in ("update", "patch"):
                return _object(200, await self._change(info, resource))
        elif info.subresource == "scale":
            return await self._scale(info, resource)
        elif info.subresource == "proxy":
            return await proxy.answer(self._parts.store, info, self._parts.pod_door)
        elif info.subresource in ("eviction", "binding", "token", "ephemeralcontainers"):
            return await self._action(info, resource)
        elif info.subresource == "log" and info.verb == "get":
            _, pod = self._writer.current(info, resource)
            return await pod_logs.answer(pod, info, self._parts.pod_door)
        raise status.method_not_allowed()

    async def _action(self, info: requests.Info, resource: resources.Resource) -> exchange.Response:
        if info.subresource == "ephemeralcontainers":
            raise status.not_implemented("ephemeral containers are not offered by fairlead; use kubectl exec")
        if info.verb != "create":
            raise status.method_not_allowed()
        if info.subresource == "token":
            return _object(201, codec.encode(self._parts.tokens.request(info)))
        around = self._parts.around(info)
        if info.subresource == "binding":
            return await pod_actions.bind(info, resource, around, self._writer)
        return await pod_actions.evict(self._parts.store, info, resource, around, self._writer)

    async def _scale(self, info: requests.Info, resource: resources.Resource) -> exchange.Response:
        entry, old = self._writer.current(info, resource)
        if info.verb == "get":
            return _object(200, codec.encode(scaling.scale_of(old, resource)))
        if info.verb not in ("update", "patch"):
            raise status.method_not_allowed()
        obj = scaling.changed(old, info, resource)
        changed = await self._writer.update(obj, old, entry, info, resource, self._parts.around(info))
        return _object(200, codec.encode(scaling.scale_of(codec.decode(changed), resource)))

    def _other(self, info: requests.Info) -> exchange.Response:
        path = info.path.rstrip("/") or "/"
        if info.method not in ("GET", "HEAD"):
            raise status.method_not_allowed()
        if path.startswith(_HEALTH):
            return _health(info)
        if path == "/metrics":
            parts = self._parts
            text = parts.metrics.render(parts.store, in_flight=parts.in_flight, shared_watches=parts.watches.shared())
            return exchange.Response(200, {"content-type": metrics.CONTENT_TYPE}, text.encode())
        if path == "/version":
            return _object(200, codec.encode(version()))
        if path.startswith("/openapi/"):
            return self._documents.answer(info)
        if path == "/":
            return _object(200, codec.encode({"paths": self._paths()}))
        return discovery.answer(info, self._parts.registry)

    def _paths(self) -> list[str]:
        found = ["/api", "/api/v1", "/apis"]
        for group, versions in self._parts.registry.group_versions().items():
            if group:
                found += [f"/apis/{group}", *(f"/apis/{group}/{one}" for one in versions)]
        return [*found, *_HEALTH, "/metrics", "/openapi/v2", "/openapi/v3", "/version"]


def _object(code: int, body: bytes) -> exchange.Response:
    return exchange.Response(code, read.JSON, body)


def _health(info: requests.Info) -> exchange.Response:
    text = "ok"
    if "verbose" in info.query:
        text = f"[+]ping ok\n[+]store ok\n{info.path.strip('/').partition('/')[0]} check passed\n"
    return exchange.Response(200, {"content-type": "text/plain; charset=utf-8"}, text.encode())


def version() -> Object:
    """`/version`: the Kubernetes version whose schemas are served."""
    from fairlead import __version__

    major, minor, _ = pack.KUBERNETES_VERSION.lstrip("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{pack.KUBERNETES_VERSION}+fairlead.{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }
