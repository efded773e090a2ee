"""What a cluster holds of the machine, counted: memory, descriptors, threads, processes, store, nftables, links,
namespaces, cgroups, mounts, folders, logs. Two censuses of a cluster at rest tell what has grown.

Counted from outside (/proc, /sys, nft, the state folder), as an operator would. Links, rules and namespaces are those
of the namespace that this runs in: run it in one of its own, or beside nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bench import cluster

Figures = dict[str, float]
BAD_WORDS = ("Traceback", "panicked", "this is a bug", "never retrieved", "never awaited")


def take(made: cluster.Cluster) -> Figures:
    """Everything, now. Blocking; some 0.3 s."""
    parts = made.processes()
    found: Figures = {f"{part}_memory_mb": mb for part, mb in made.memory_mb().items()}
    for part in ("fairlead", "engine"):
        found[f"{part}_descriptors"] = float(sum(_entries(f"/proc/{pid}/fd") for pid in parts[part]))
        found[f"{part}_threads"] = float(sum(_entries(f"/proc/{pid}/task") for pid in parts[part]))
    found["shims"] = float(len(parts["shims"]))
    found["processes"] = float(sum(entry.name.isdigit() for entry in Path("/proc").iterdir()))
    found["zombies"] = float(_zombies())
    found["store_mb"], found["store_free_mb"] = (size / 1e6 for size in store_bytes(made.folder / "store.db"))
    found["journal_mb"] = sum(file.stat().st_size for file in made.folder.glob("store.db-wal")) / 1e6
    found["state_files"] = float(sum(len(files) for _, _, files in os.walk(made.folder)))
    found["pod_folders"] = float(_entries(str(made.folder / "pods")))
    found["log_mb"] = sum(file.stat().st_size for file in made.folder.glob("log/*")) / 1e6
    found["network_namespaces"] = float(len({*_links("ns/net")}))
    found["links"] = float(len(_lines("ip", "-o", "link")))
    found["routes"] = float(len(_lines("ip", "route")))
    found["neighbours"] = float(len(_lines("ip", "neigh")))
    found["cgroups"] = float(_cgroups(made.name))
    found["mounts"] = float(len(Path("/proc/self/mountinfo").read_text().splitlines()))
    return {**found, **_rules()}


def store_bytes(file: Path) -> tuple[int, int]:
    """What is in use of a store's file and what is free in it, from its head (sqlite.org/fileformat2.html). What ten
    minutes of history needed at their largest stays in the file and is used again."""
    with file.open("rb") as opened:
        head = opened.read(100)
    page, free = struct.unpack_from(">H", head, 16)[0], struct.unpack_from(">I", head, 36)[0]
    page = 65536 if page == 1 else page
    return file.stat().st_size - free * page, free * page


def bad_lines(made: cluster.Cluster) -> list[str]:
    """Lines of the logs that tell of a bug."""
    lines = [line for file in made.folder.glob("log/*.log") for line in file.read_text(errors="replace").splitlines()]
    return [line for line in lines if any(word in line for word in BAD_WORDS)]


def warnings(made: cluster.Cluster) -> dict[str, int]:
    """How often fairlead's log warns of what."""
    seen: dict[str, int] = {}
    for line in (made.folder / "log" / "fairlead.log").read_text(errors="replace").splitlines():
        words = line.split()
        level = next((at for at, word in enumerate(words[:3]) if word in ("warning", "error")), None)
        if level is not None:
            said = " ".join(word for word in words[level:] if "=" not in word)
            seen[said] = seen.get(said, 0) + 1
    return seen


def _entries(folder: str) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(folder))  # noqa: PTH208
    return 0


def _zombies() -> int:
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found += (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return found


def _links(name: str) -> Iterable[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield os.readlink(entry / name)  # noqa: PTH115


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _cgroups(name: str) -> int:
    return sum(
        len(folders) for top in Path("/sys/fs/cgroup").glob(f"**/fairlead/{name}") for _, folders, _ in os.walk(top)
    )


def _rules() -> Figures:
    """Chains, rules, and elements of maps and sets of all tables here."""
    text = "\n".join(_lines("nft", "list", "ruleset"))
    lists = re.findall(r"elements = \{(.*?)\}", text, re.DOTALL)
    return {
        "nft_chains": float(len(re.findall(r"^\tchain ", text, re.MULTILINE))),
        "nft_rules": float(len(re.findall(r"^\t\t(?!type |elements|size|flags|timeout|policy)\S", text, re.MULTILINE))),
        "nft_elements": float(sum(one.count(",") + 1 for one in lists)),
    }


def grew(name: str, first: float, between: float, last: float) -> bool:
    """Whether a figure of the last rest is larger than it may be. `between` is the rest after fairlead's last start."""
    if name in ("log_mb", "state_files", "neighbours", "store_free_mb"):  # bounded by themselves
        return False
    if name.endswith("memory_mb"):
        return last > between * 1.15 + 3
    if name.endswith("_mb"):
        return last > between * 1.5 + 8
    few = 16 if name == "engine_descriptors" else 2 if name.startswith("fairlead_") else 0  # idle connections, threads
    return last > max(first, between) + few
