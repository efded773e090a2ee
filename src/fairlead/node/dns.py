"""How a pod finds names: what its /etc/resolv.conf says, by dnsPolicy and dnsConfig, as the kubelet forms it.

Follows `pkg/kubelet/network/dns`: the policy gives the base (the node's own resolver, the cluster's, or nothing), the
pod's dnsConfig is merged into it, and what the C library could not take (4th nameserver, 33rd search path, a search
line over 2,048 characters) is left out and told. One step further than the kubelet: a resolver at a loopback address of
the node (systemd-resolved, dnsmasq) is not one for a pod with a network of its own; such a pod gets those behind it, or
the cluster's, which forwards.
"""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Object = dict[str, Any]
_Policy = Literal["host", "cluster", "none"]
DOMAIN = "cluster.local"
MOST_NAMESERVERS, MOST_SEARCHES, MOST_SEARCH_CHARACTERS, LONGEST_SEARCH = 3, 32, 2048, 253
_HOSTS = "/etc/resolv.conf"
_BEHIND_RESOLVED = "/run/systemd/resolve/resolv.conf"


@dataclass(frozen=True, slots=True)
class Config:
    """The three lists of a resolv.conf(5)."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """As a file."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {one}" for one in self.nameservers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Formed:
    """What a pod gets, and what of the wish had to be left out, in the kubelet's words."""

    config: Config
    problems: tuple[str, ...] = ()


def parse(text: str) -> Config:
    """A resolv.conf as the kubelet reads it: the last search line counts, options add up."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word == "search":
            searches = [_plain(one) for one in rest]
        elif word == "options":
            options += rest
    return Config(tuple(servers), tuple(searches), tuple(options))


def of_host() -> Config:
    """The node's own resolver."""
    return of_file(_HOSTS)


def without_loopback(host: Config, cluster: str, *, behind: Config | None = None) -> Config:
    """The node's resolver for a pod that does not share the node's loopback addresses."""
    if not any(map(_is_loopback, host.nameservers)):
        return host
    beyond = of_file(_BEHIND_RESOLVED) if behind is None else behind
    known = [one for one in (*host.nameservers, *beyond.nameservers) if not _is_loopback(one)]
    return replace(host, nameservers=tuple(dict.fromkeys(known)) or ((cluster,) if cluster else ()))


def form(pod: Object, *, host: Config, cluster: str) -> Formed:
    """The pod's resolver. `cluster` is the address of the cluster's DNS, "" where it has none for pods."""
    kind, namespace, wanted = _kind(pod["spec"]), pod["metadata"]["namespace"], pod["spec"].get("dnsConfig")
    if not wanted:
        return _usual(kind, namespace, host, cluster)
    return _fitting(_merged(_base(kind, namespace, host, cluster), wanted))


@functools.lru_cache(maxsize=64)
def _usual(kind: _Policy, namespace: str, host: Config, cluster: str) -> Formed:
    """Alike for all pods of a namespace that have no dnsConfig."""
    return _fitting(_merged(_base(kind, namespace, host, cluster), {}))


def _base(kind: _Policy, namespace: str, host: Config, cluster: str) -> Config:
    if kind == "none":
        return Config()
    if kind == "cluster" and cluster:
        own = (f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)
        return Config((cluster,), _unique((*own, *host.searches)), ("ndots:5",))
    return host


def _kind(spec: Object) -> _Policy:
    """Of a pod on the host's network, ClusterFirst means Default; ClusterFirstWithHostNet is the other word."""
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "None":
        return "none"
    if policy == "Default" or (policy == "ClusterFirst" and spec.get("hostNetwork")):
        return "host"
    return "cluster"


def variables(pod: Object) -> dict[str, str]:
    """Where no file can be put in place: what the C library takes from the environment (resolver(5)): searches and
    options, but no nameserver."""
    wanted = pod["spec"].get("dnsConfig") or {}
    formed = _fitting(_merged(Config(), {**wanted, "nameservers": ()})).config
    found = {"LOCALDOMAIN": " ".join(formed.searches), "RES_OPTIONS": " ".join(formed.options)}
    return {name: text for name, text in found.items() if text}


def _merged(base: Config, wanted: Object) -> Config:
    options = dict(one.partition(":")[::2] for one in base.options)
    options |= {str(one.get("name", "")): str(one.get("value") or "") for one in wanted.get("options") or ()}
    return Config(
        _unique((*base.nameservers, *(wanted.get("nameservers") or ()))),
        _unique((*base.searches, *(wanted.get("searches") or ()))),
        tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


@dataclass(slots=True)
class _Cut:
    """A list that is being cut to what fits."""

    kept: list[str]
    cut: bool = field(default=False)

    def keep(self, kept: list[str]) -> None:
        self.cut = self.cut or kept != self.kept
        self.kept = kept


def _fitting(wanted: Config) -> Formed:
    searches = _Cut(list(wanted.searches))
    searches.keep(searches.kept[:MOST_SEARCHES])
    searches.keep([one for one in searches.kept if len(one) <= LONGEST_SEARCH])
    while len(" ".join(searches.kept)) > MOST_SEARCH_CHARACTERS:
        searches.keep(searches.kept[:-1])
    servers = _Cut(list(wanted.nameservers))
    servers.keep(servers.kept[:MOST_NAMESERVERS])
    problems = []
    if searches.cut:
        line = " ".join(searches.kept)
        problems.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + line
        )
    if servers.cut:
        line = " ".join(servers.kept)
        problems.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {line}"
        )
    return Formed(Config(tuple(servers.kept), tuple(searches.kept), wanted.options), tuple(problems))


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _plain(search: str) -> str:
    return search if search == "." else search.removesuffix(".")


@functools.lru_cache(maxsize=64)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def of_file(path: str) -> Config:
    """What that file says now; it is read again when it has changed."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for each container
        return _of_version(path, (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size))
    except OSError:
        return Config()


@functools.lru_cache(maxsize=8)
def _of_version(path: str, version: tuple[int, ...]) -> Config:
    return parse(Path(path).read_text(errors="replace"))
