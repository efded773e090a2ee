"""What ConfigMaps, Secrets and claims may hold."""

from __future__ import annotations

import base64
import re
from typing import Any

from fairlead.api import field_errors
from fairlead.api.validation import common

Object = dict[str, Any]
Problems = common.Problems
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LIMIT_BYTES = 1 << 20
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_REQUIRED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _keys(data: Object, path: str) -> Problems:
    found = []
    for key in data:
        if len(key) > 253 or not _KEY.fullmatch(key) or key in (".", "..") or key.startswith(".."):
            found.append(field_errors.invalid(f"{path}[{key}]", key, _KEY_TEXT))
    return found


def validate_config_map(obj: Object) -> Problems:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    found = _keys(data, "data") + _keys(binary, "binaryData")
    for key in data:
        if key in binary:
            found.append(field_errors.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    if sum(map(len, data.values())) + sum(len(value) * 3 // 4 for value in binary.values()) > _LIMIT_BYTES:
        found.append(field_errors.too_long("", _LIMIT_BYTES))
    return found


def validate_immutable(obj: Object, old: Object) -> Problems:
    if not old.get("immutable"):
        return []
    found = []
    if not obj.get("immutable"):
        found.append(field_errors.forbidden("immutable", "field is immutable when `immutable` is set"))
    for field in ("data", "binaryData"):
        if obj.get(field) != old.get(field):
            found.append(field_errors.forbidden(field, "field is immutable when `immutable` is set"))
    return found


def default_secret(obj: Object) -> None:
    """A Secret is Opaque; `stringData` is for writing only: it goes to `data`, encoded."""
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        for key, text in plain.items():
            data[key] = base64.b64encode(text.encode()).decode()


def validate_secret(obj: Object) -> Problems:
    data = obj.get("data") or {}
    found = _keys(data, "data")
    if sum(len(value) * 3 // 4 for value in data.values()) > _LIMIT_BYTES:
        found.append(field_errors.too_long("data", _LIMIT_BYTES))
    for key in _REQUIRED.get(obj.get("type", ""), ()):
        if key not in data:
            found.append(field_errors.required(f"data[{key}]"))
    return found


def validate_secret_update(obj: Object, old: Object) -> Problems:
    found = validate_immutable(obj, old)
    if obj.get("type") != old.get("type"):
        found.append(field_errors.immutable("type", obj.get("type")))
    return found


def validate_claim(obj: Object) -> Problems:
    spec = obj.get("spec") or {}
    found: Problems = []
    if not spec.get("accessModes"):
        found.append(field_errors.required("spec.accessModes", "at least 1 access mode is required"))
    for index, mode in enumerate(spec.get("accessModes") or ()):
        known = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
        found += common.one_of(mode, f"spec.accessModes[{index}]", known)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        found.append(field_errors.required("spec.resources[storage]"))
    else:
        found += common.quantity_of(storage, "spec.resources[storage]")
    return found
