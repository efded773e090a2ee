"""The machine as `down` must leave it: everything that a cluster could leave behind, as comparable lines."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

Listing = dict[str, set[str]]


def take(*, ignore_pids: frozenset[int] = frozenset()) -> Listing:
    """Everything of the machine that a cluster touches."""
    return {
        "processes": _processes(ignore_pids),
        "namespaces": _namespaces(),
        "links": {line.split(":")[1].strip() for line in _lines("ip", "-o", "link")},
        "addresses": {" ".join(line.split()[:4]) for line in _lines("ip", "-o", "addr")},
        "routes": set(_lines("ip", "route", "show", "table", "all")),
        "rules": set(_lines("ip", "rule")),
        "neighbours": {line.split()[0] for line in _lines("ip", "neigh")},
        "nftables": {
            json.dumps(item.get("table", "")) for item in json.loads(_text("nft", "-j", "list", "tables"))["nftables"]
        },
        "sysctls": {f"{path}={_read(path)}" for path in _SYSCTLS},
        "cgroups": {str(path) for path in Path("/sys/fs/cgroup").rglob("*fairlead*")},
        "mounts": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "bpf": {str(path) for path in Path("/sys/fs/bpf").rglob("*")} if Path("/sys/fs/bpf").is_dir() else set(),
        "sockets": {" ".join(line.split()[:1] + line.split()[4:5]) for line in _lines("ss", "-H", "-ltun")},
        "temporary files": {
            str(path)
            for root in ("/tmp", "/run", "/dev/shm")
            for path in Path(root).glob("*fairlead*")
            if not path.name.startswith(_OTHERS)
        },
    }


_OTHERS = ("fairlead-bench-", "fairlead-lb-")  # what a benchmark or a `fairlead lb` beside the test has
_SYSCTLS = (
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/ipv4/conf/all/route_localnet",
    "/proc/sys/net/ipv4/conf/all/rp_filter",
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
)


def left(before: Listing, after: Listing) -> dict[str, list[str]]:
    """What is there now and was not, and what was and is not."""
    changes = {}
    for part, lines in after.items():
        new, gone = sorted(lines - before[part]), sorted(before[part] - lines)
        if new or gone:
            changes[part] = [f"+ {line}" for line in new] + [f"- {line}" for line in gone]
    return changes


def _processes(ignore: frozenset[int]) -> set[str]:
    """Processes of ours: by executable or command line, whoever started them."""
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in ignore | {os.getpid()}:
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if "fairlead" in command and "pytest" not in command:
            found.add(f"{folder.name} {command}")
    return found


def _namespaces() -> set[str]:
    """Those of living processes: a zombie that init has not waited for yet keeps nothing but its number."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found |= {os.readlink(name) for name in (folder / "ns").iterdir()}
            except OSError:
                continue
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "?"


def _lines(*command: str) -> list[str]:
    return [line for line in _text(*command).splitlines() if line.strip()]


def _text(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
