"""The termination message of a container: its file, else (FallbackToLogsOnError, after an error) the end of its log.

As the kubelet: at most 4096 bytes of the file, 2048 bytes and 80 lines of the log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

Object = dict[str, Any]
_FILE_BYTES = 4096
_LOG_BYTES = 2048
_LOG_LINES = 80


def read(container: Object, *, file: Path, log: Path, exit_code: int) -> str:
    """The message, "" when there is none."""
    text = _tail_of_file(file)
    if text or exit_code == 0 or container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return text
    lines = [line.split(b" ", 3)[-1] for line in _end_of(log, _LOG_BYTES * 2).splitlines()]
    return b"\n".join(lines[-_LOG_LINES:])[-_LOG_BYTES:].decode("utf-8", "replace")


def _tail_of_file(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _end_of(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as opened:
            opened.seek(max(0, path.stat().st_size - size))
            return opened.read(size)
    except OSError:
        return b""
