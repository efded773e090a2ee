"""All manifests or none: every object is tried dry first; only when the API server takes them all is anything written.

Writes are server-side apply in an order that needs no second try (namespaces and definitions first, workloads last).
A refusal names file, line, object and field in the API server's words; so does what it warns of.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api import kinds, manifest
from fairlead.cli import failure
from fairlead.client import errors, hearing, protocol

FIELD_MANAGER = "fairlead-up"
_ORDER = {
    name: rank
    for rank, group in enumerate(
        (
            ("Namespace", "CustomResourceDefinition"),
            ("ServiceAccount", "Secret", "ConfigMap", "IngressClass", "ClusterRole", "Role"),
            ("ClusterRoleBinding", "RoleBinding", "PersistentVolumeClaim", "Service"),
        )
    )
    for name in group
}


@dataclass(frozen=True, slots=True)
class Planned:
    """An object with the kind that serves it and the namespace it goes to."""

    item: manifest.Manifest
    kind: kinds.Kind
    namespace: str

    @property
    def name(self) -> str:
        return str(self.item.object["metadata"].get("name", ""))


def plan(manifests: list[manifest.Manifest], *, namespace: str = "default") -> list[Planned]:
    """Kinds and order. Raises Failure naming every object whose kind is not served here."""
    known = {(kind.api_version, kind.kind): kind for kind in kinds.KINDS}
    planned, unknown = [], []
    for item in manifests:
        version, name = item.object["apiVersion"], item.object["kind"]
        kind = known.get((version, name))
        if kind is None:
            where = f"{item.source}:{item.line}: {item.title}"
            served = [of for of, named in known if named == name]
            hint = f"; served: {', '.join(served)}" if served else _elsewhere(version)
            unknown.append(f"{where}: kind: no matches for kind {name!r} in version {version!r}{hint}")
            continue
        space = (item.object["metadata"].get("namespace") or namespace) if kind.namespaced else ""
        planned.append(Planned(item, kind, space))
    if unknown:
        raise failure.Failure(*unknown)
    return sorted(planned, key=lambda one: _ORDER.get(one.kind.kind, len(_ORDER)))


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of it: each object as it is now, and what the API server warned of, with the object's name."""

    written: list[protocol.Object]
    warnings: list[str]


def _elsewhere(version: str) -> str:
    """What to do with a kind that is not built in."""
    group = version.partition("/")[0] if "/" in version else ""
    if group.endswith("gateway.networking.k8s.io"):
        return "; Gateway API's kinds are not served here: routes are Ingresses"
    if "." in group and not group.endswith(".k8s.io"):
        return "; a custom resource is applied with kubectl, once the cluster runs and has its definition"
    return ""


async def apply(client: protocol.Client, planned: list[Planned]) -> Applied:
    """Applies everything or nothing. Raises Failure with every refusal."""
    coming = {one.name for one in planned if one.kind is kinds.NAMESPACE}
    refused = []
    for one in planned:
        try:
            await _write(client, one, dry_run=True)
        except errors.ApiError as error:
            if not (error.not_found and one.namespace in coming):
                refused += _words(one, error)
    if refused:
        raise failure.Failure(*refused, "nothing was applied")
    written: list[protocol.Object] = []
    warnings: list[str] = []
    for one in planned:
        try:
            with hearing.warnings() as heard:
                written.append(await _write(client, one, dry_run=False))
            warnings += [f"{one.item.title}: {text}" for text in heard]
        except errors.ApiError as error:
            done = ", ".join(other.item.title for other in planned[: len(written)]) or "nothing"
            raise failure.Failure(*_words(one, error), f"applied before it: {done}") from None
    return Applied(written, warnings)


async def _write(client: protocol.Client, one: Planned, *, dry_run: bool) -> protocol.Object:
    if not one.name:
        return await client.create(one.kind, one.item.object, namespace=one.namespace, dry_run=dry_run, strict=True)
    return await client.patch(
        one.kind,
        one.name,
        one.item.object,
        namespace=one.namespace,
        patch_type="apply",
        field_manager=FIELD_MANAGER,
        force=True,
        dry_run=dry_run,
        strict=True,
    )


def _words(one: Planned, error: errors.ApiError) -> list[str]:
    where = f"{one.item.source}:{one.item.line}: {one.item.title}"
    causes = (error.status.get("details") or {}).get("causes") or []
    fields = [f"{where}: {cause['field']}: {cause['message']}" for cause in causes if cause.get("field")]
    return fields or [f"{where}: {error}"]
