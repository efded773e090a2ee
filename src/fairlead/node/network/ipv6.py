"""What this machine's IPv6 needs before pods may have it: that it is on, and forwards.

Switching forwarding on would make a machine forget routes that it learned from routers: what accepts router
advertisements is told to go on (accept_ra=2), and `restore` puts both back.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from fairlead.base import privilege

_CONF = Path("/proc/sys/net/ipv6/conf")
_NOTE = "before6.json"


def available() -> bool:
    """Whether IPv6 is on here: in all of the network namespace, in links to come and on loopback."""
    try:
        return all((_CONF / name / "disable_ipv6").read_text().strip() == "0" for name in ("all", "default", "lo"))
    except OSError:
        return False


def known() -> bool:
    """Whether the kernel has IPv6 at all, on or off."""
    return _CONF.exists()


def enable_here() -> None:
    """Switches IPv6 on in this thread's network namespace, a pod's: it may have the machine's settings of its birth."""
    for name in ("all", "default", "lo"):
        with contextlib.suppress(OSError):
            (_CONF / name / "disable_ipv6").write_text("0")


def forward(folder: Path) -> None:
    """Switches forwarding on; what was is noted in the folder, unless the namespace is our own and ends with us."""
    everywhere = _CONF / "all" / "forwarding"
    if everywhere.read_text().strip() != "0":
        return
    listening = [path for path in _CONF.glob("*/accept_ra") if path.parent.name != "all" and _is(path, "1")]
    routing = [path for path in _CONF.glob("*/forwarding") if path.parent.name != "all" and _is(path, "1")]
    if privilege.is_root():
        before = {**dict.fromkeys(map(str, listening), "1"), **dict.fromkeys(map(str, routing), "1")}
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        (folder / _NOTE).write_text(json.dumps({str(everywhere): "0", **before}))
    for path in listening:
        with contextlib.suppress(OSError):
            path.write_text("2")
    everywhere.write_text("1")


def restore(folder: Path) -> None:
    """Puts back what `forward` noted, links that are gone left out."""
    note = folder / _NOTE
    with contextlib.suppress(FileNotFoundError):
        for path, value in json.loads(note.read_text()).items():  # "all" first: it sets the others, too
            with contextlib.suppress(OSError):
                Path(path).write_text(value)
        note.unlink()


def _is(path: Path, value: str) -> bool:
    with contextlib.suppress(OSError):
        return path.read_text().strip() == value
    return False
