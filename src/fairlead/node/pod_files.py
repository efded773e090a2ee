"""The few files that a pod with mounts of its own gets: /etc/hosts, /etc/hostname, /etc/resolv.conf, and one for the
termination message. They live in STATE/pods/UID/etc and are bound over the host's.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from fairlead.node import dns, records, runtime

Object = dict[str, Any]
DEFAULT_TERMINATION_PATH = "/dev/termination-log"


def termination_file(folder: Path, container: str) -> Path:
    """Where the container's termination message is written on the host."""
    return folder / "etc" / f"{container}.termination"


def mounts(
    pod: Object,
    container: Object,
    record: records.PodRecord,
    folder: Path,
    *,
    resolver: dns.Config,
    who: runtime.Credentials,
) -> tuple[runtime.Mount, ...]:
    """Writes the files and says where they are bound. Blocking, a few small files."""
    etc = folder / "etc"
    etc.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = []
    if not pod["spec"].get("hostNetwork"):
        _write(etc / "hosts", hosts(pod, record.ip))
        found.append(runtime.Mount("/etc/hosts", str(etc / "hosts")))
        _write(etc / "hostname", _hostname(pod) + "\n")
        if Path("/etc/hostname").exists():
            found.append(runtime.Mount("/etc/hostname", str(etc / "hostname")))
    _write(etc / "resolv.conf", resolver.text())
    found.append(runtime.Mount("/etc/resolv.conf", str(etc / "resolv.conf")))
    target = container.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH
    message = termination_file(folder, container["name"])
    _write(message, "")
    if who.uid is not None:
        with contextlib.suppress(OSError):
            os.chown(message, who.uid, who.gid if who.gid is not None else -1)
    return (*found, runtime.Mount(target, str(message)))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def _hostname(pod: Object) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def hosts(pod: Object, ip: str) -> str:
    """/etc/hosts as the kubelet writes it, hostAliases included."""
    name, subdomain = _hostname(pod), pod["spec"].get("subdomain")
    full = f"{name}.{subdomain}.{pod['metadata']['namespace']}.svc.{dns.DOMAIN}\t" if subdomain else ""
    lines = ["# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines.append(f"{ip}\t{full}{name}")
    for alias in pod["spec"].get("hostAliases") or []:
        lines.append("\t".join([alias.get("ip", ""), *(alias.get("hostnames") or [])]))
    return "\n".join(lines) + "\n"
