"""Passwords of registries, of a pod's `imagePullSecrets`: those that an image's pull is tried with, the best first.

As Kubernetes interprets config.json: an entry names a host (each of its labels may be a glob), a port and the beginning
of a path; Docker Hub has several names. Each is the `X-Registry-Auth` header of Docker's API, which Podman takes, too.
A Secret that is of another type, or damaged, has no entries.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from fairlead.base import secret

Object = dict[str, Any]
HEADER = "X-Registry-Auth"
_FILES = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def headers(image: str, secrets: Iterable[Object]) -> tuple[secret.Secret, ...]:
    """The values of the header to try, in this order."""
    wanted = _repository(image)
    found = [(place, entry) for one in secrets for place, entry in _entries(one) if _matches(_place(place), wanted)]
    found.sort(key=lambda pair: len(_place(pair[0])), reverse=True)
    return tuple(dict.fromkeys(_header(place, entry) for place, entry in found))


def _entries(found: Object) -> Iterator[tuple[str, Object]]:
    file = _FILES.get(str(found.get("type")), "")
    try:
        content = msgspec.json.decode(base64.b64decode((found.get("data") or {}).get(file) or ""))
        auths = content["auths"] if file == ".dockerconfigjson" else content
        for place, entry in auths.items():
            if isinstance(entry, dict) and (login := _login(entry)):
                yield str(place), login
    except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return


def _login(entry: Object) -> Object:
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"])}
    user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    user, password = str(entry.get("username") or user), str(entry.get("password") or password)
    return {"username": user, "password": password} if user else {}


def _header(place: str, entry: Object) -> secret.Secret:
    content = msgspec.json.encode({**entry, "serveraddress": place})
    return secret.Secret(base64.urlsafe_b64encode(content).decode())


def _place(text: str) -> str:
    """HOST[:PORT][/PATH] of an entry."""
    found = text.partition("://")[2] or text
    host, _, path = found.partition("/")
    for version in ("v1", "v2"):
        if path.rstrip("/") == version or path.startswith(f"{version}/"):
            path = path.removeprefix(version)
    return "/".join(filter(None, (_HUB[0] if host in _HUB else host, path.strip("/"))))


def _repository(image: str) -> str:
    """HOST[:PORT]/PATH of an image, without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = _HUB[0], name if slash else f"library/{name}"
    return f"{_HUB[0] if host in _HUB else host}/{path}"


def _matches(place: str, repository: str) -> bool:
    host, _, path = place.partition("/")
    wanted_host, _, wanted_path = repository.partition("/")
    labels, wanted_labels = host.split("."), wanted_host.split(".")
    if len(labels) != len(wanted_labels) or not wanted_path.startswith(path):
        return False
    return all(fnmatch.fnmatchcase(one, label) for one, label in zip(wanted_labels, labels, strict=True))
