"""The few files that a pod with mounts of its own gets: /etc/hosts, /etc/hostname, /etc/resolv.conf, and one for the
termination message. They live in `etc` of the pod's small folder (`folders`) and are bound over the host's. Pure but
for a look at /etc; whoever starts the container writes them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fairlead.node import dns, records, runtime

Object = dict[str, Any]
DEFAULT_TERMINATION_PATH = "/dev/termination-log"


def termination_file(folder: Path, container: str) -> Path:
    """Where the container's termination message is written on the host."""
    return folder / "etc" / _termination_name(container)


def _termination_name(container: str) -> str:
    return f"{container}.termination"


def mounts(
    pod: Object,
    container: Object,
    record: records.PodRecord,
    folder: Path,
    *,
    resolver: dns.Config,
    who: runtime.Credentials,
) -> tuple[tuple[runtime.Mount, ...], tuple[runtime.NewFile, ...]]:
    """The files, and where they are bound."""
    etc = f"{folder}/etc"
    files, found = [], []

    def bound(target: str, name: str, text: str) -> None:
        files.append(runtime.NewFile(f"{etc}/{name}", text))
        found.append(runtime.Mount(target, f"{etc}/{name}"))

    if not pod["spec"].get("hostNetwork"):
        bound("/etc/hosts", "hosts", hosts(pod, *record.addresses))
        if os.path.exists("/etc/hostname"):  # noqa: PTH110 - asked for each container
            bound("/etc/hostname", "hostname", hostname(pod) + "\n")
    bound("/etc/resolv.conf", "resolv.conf", resolver.text())
    target = container.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH
    message = f"{etc}/{_termination_name(container['name'])}"
    owner = (who.uid, who.gid if who.gid is not None else -1) if who.uid is not None else None
    files.append(runtime.NewFile(message, owner=owner))
    return (*found, runtime.Mount(target, message)), tuple(files)


def hostname(pod: Object) -> str:
    """What the pod calls itself: hostnameOverride as it is, else hostname, else its name, at most 63 characters."""
    spec = pod["spec"]
    return str(spec.get("hostnameOverride") or str(spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-."))


def hosts(pod: Object, *addresses: str) -> str:
    """/etc/hosts as the kubelet writes it, hostAliases included."""
    name, subdomain = hostname(pod), pod["spec"].get("subdomain")
    if pod["spec"].get("hostnameOverride"):
        subdomain = ""  # the pod calls itself that and nothing else
    full = f"{name}.{subdomain}.{pod['metadata']['namespace']}.svc.{dns.DOMAIN}\t" if subdomain else ""
    lines = ["# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{full}{name}" for address in addresses]
    for alias in pod["spec"].get("hostAliases") or []:
        lines.append("\t".join([alias.get("ip", ""), *(alias.get("hostnames") or [])]))
    return "\n".join(lines) + "\n"
