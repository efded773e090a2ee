"""Which address families a Service has: its `ipFamilies` and `ipFamilyPolicy`, from what it and the cluster say.

Follows kube-apiserver (`pkg/registry/core/service/storage/alloc.go`, KEP-563): single-stack by default; who prefers two
families gets what there is; who requires two where there is one is refused; a second family comes or goes only when the
policy says so, the first one never changes. Headless Services without a selector may name families that the cluster
lacks. Nothing is allocated here.
"""

from __future__ import annotations

from typing import Any

from fairlead.api import field_errors
from fairlead.apiserver import addresses

Object = dict[str, Any]
Problems = list[Any]
SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}


def settle(spec: Object, old: Object | None, allocator: addresses.Allocator) -> Problems:
    """Completes both fields in place; what is wrong with them comes back, and then nothing may be allocated."""
    if old is not None and _prefers_as_before(spec, old):
        return []
    headless = spec.get("clusterIP") == "None"
    loose = headless and not spec.get("selector")
    spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or (REQUIRE if loose else SINGLE)
    found = _related(spec)
    if found:
        return found
    if old is not None:
        found += _changed(spec, old)
    found += _too_many(spec)
    found += _infer(spec, allocator)
    if found:
        return found
    default = allocator.families[0]
    if loose:
        _complete(spec, default, tuple(_OTHER))
        return []
    found += _unknown(spec, allocator)
    if not found:
        _complete(spec, default, allocator.families)
    return found


def _prefers_as_before(spec: Object, old: Object) -> bool:
    """A Service that prefers two is not changed because the cluster has more or fewer by now."""
    same = all(spec.get(field) == old.get(field) for field in ("type", "clusterIPs", "ipFamilies"))
    return same and spec.get("ipFamilyPolicy") == old.get("ipFamilyPolicy") == PREFER and bool(old.get("ipFamilies"))


def _related(spec: Object) -> Problems:
    """`ValidateServiceClusterIPsRelatedFields`."""
    own, families = spec.get("clusterIPs") or [], spec.get("ipFamilies") or []
    found = []
    for index, family in enumerate(families):
        if family in families[:index]:
            found.append(field_errors.duplicate(f"spec.ipFamilies[{index}]", family))
    if own and spec.get("clusterIP") and own[0] != spec["clusterIP"]:
        found.append(field_errors.invalid("spec.clusterIPs[0]", own, "first value must match `clusterIP`"))
    if "None" in own and own != ["None"]:
        found.append(field_errors.invalid("spec.clusterIPs", own, "'None' must be the first and only value"))
    if len(own) > 2:
        found.append(field_errors.invalid("spec.clusterIPs", own, "may only hold up to 2 values"))
    spoken = [addresses.family(one) for one in own if one != "None"]
    if "" in spoken:
        return found  # the allocator says what is wrong with an address
    if len(spoken) > 1 and len(set(spoken)) == 1:
        detail = "may specify no more than one IP for each IP family"
        found.append(field_errors.invalid("spec.clusterIPs", own, detail))
    for index, (address, wanted) in enumerate(zip(own, families, strict=False)):
        if address != "None" and addresses.family(address) != wanted and wanted in _OTHER:
            detail = f"expected an {wanted} value as indicated by `ipFamilies[{index}]`"
            found.append(field_errors.invalid(f"spec.clusterIPs[{index}]", address, detail))
    return found


def _changed(spec: Object, old: Object) -> Problems:
    """Single-stack with what it had lets the second family go; any other policy must keep it."""
    found = []
    for field, name in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        now, before = spec.get(field) or [], old.get(field) or []
        if spec["ipFamilyPolicy"] == SINGLE:
            if now == before and len(now) > 1:
                spec[field] = now[:1]
        elif len(now) == 1 and len(before) == 2:
            detail = f"must be 'SingleStack' to release the secondary {name}"
            found.append(field_errors.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], detail))
    return found


def _too_many(spec: Object) -> Problems:
    detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [
        field_errors.invalid("spec.ipFamilyPolicy", SINGLE, detail.format(words))
        for field, words in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if spec["ipFamilyPolicy"] == SINGLE and len(spec.get(field) or ()) == 2
    ]


def _infer(spec: Object, allocator: addresses.Allocator) -> Problems:
    """The families of addresses that were asked for."""
    own = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    families = list(spec.get("ipFamilies") or ())
    found = []
    for index, address in enumerate(own):
        family = addresses.family(address)
        if address == "None" or not family or index < len(families):
            continue
        if family in allocator.families:
            families.append(family)
        else:
            detail = f"{family} is not configured on this cluster"
            found.append(field_errors.invalid(f"spec.clusterIPs[{index}]", own, detail))
    if families:
        spec["ipFamilies"] = families
    return found


def _unknown(spec: Object, allocator: addresses.Allocator) -> Problems:
    found = []
    if spec["ipFamilyPolicy"] == REQUIRE and len(allocator.families) < 2:
        detail = "this cluster is not configured for dual-stack services"
        found.append(field_errors.invalid("spec.ipFamilyPolicy", REQUIRE, detail))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in allocator.families:
            found.append(field_errors.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    return found


def _complete(spec: Object, default: str, known: tuple[str, ...]) -> None:
    families = list(spec.get("ipFamilies") or [default])
    other = _OTHER.get(families[0], "")
    if spec["ipFamilyPolicy"] != SINGLE and len(families) == 1 and other in known:
        families.append(other)
    spec["ipFamilies"] = families
