"""Structured logs: one line a record, `event key=value …` for people or JSON for machines. Use `log.get(__name__)`."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO


class Log:
    """A named logger that takes an event and its fields: `log.info("pod started", pod=name, pid=pid)`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields, error)

    def _write(self, level: int, event: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields}, exc_info=error)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        parts = [f"{stamp} {record.levelname.lower():7} {record.getMessage()}"]
        parts += [f"{key}={value}" for key, value in fields.items()]
        text = " ".join(parts)
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": record.created,
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "log": record.name,
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def get(name: str) -> Log:
    """The Log of that name."""
    return Log(name)


def configure(*, level: str = "info", json_lines: bool = False, stream: TextIO | None = None) -> None:
    """Sends every record of `fairlead` to the stream (standard error by default)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if json_lines else _TextFormatter())
    root = logging.getLogger("fairlead")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
