"""The audit log: who did what, one `audit.k8s.io/v1` Event a line, at the level Metadata, so that no secret is in it.

Writes, refusals, streams into pods and backups are logged, other reads are not. Lines are written in the background
and kept in two files of 32 MiB; when the disk cannot keep up or is full, lines are dropped and counted, requests never
wait.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fairlead.apiserver import backup, codec, metrics, requests, reviews
from fairlead.base import clock as clocks
from fairlead.base import log as logs

log = logs.get(__name__)
FILE_BYTES = 32 << 20
WAITING_LINES = 20_000
FLUSH_SECONDS = 0.5
_READS = ("get", "list", "watch")
_STREAMS = ("exec", "attach", "portforward", "proxy")


class Audit:
    """One log. `run` writes it until it is cancelled; `flush` writes what waits."""

    def __init__(self, path: Path, counted: metrics.Metrics, *, clock: clocks.Clock) -> None:
        self._path = path
        self._counted = counted
        self._clock = clock
        self._waiting: list[bytes] = []
        self._failing = False

    def note(self, info: requests.Info, code: int, started: float) -> None:
        """One answered request."""
        harmless = info.subresource not in _STREAMS and info.path != backup.PATH
        if info.verb in _READS and code not in (401, 403) and harmless:
            return
        if len(self._waiting) >= WAITING_LINES:
            self._counted.dropped_audit_lines += 1
            return
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "stage": "ResponseComplete",
            "requestURI": info.path,
            "verb": info.verb,
            "user": reviews.user_info(info.identity),
            "userAgent": info.headers.get("user-agent", ""),
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": clocks.rfc3339_micro(started),
            "stageTimestamp": clocks.rfc3339_micro(self._clock.now()),
        }
        if info.resource:
            reference = {
                "resource": info.resource,
                "namespace": info.namespace,
                "name": info.name or info.object_name,
                "apiGroup": info.group,
                "apiVersion": info.version,
                "subresource": info.subresource,
            }
            event["objectRef"] = {key: value for key, value in reference.items() if value}
        self._waiting.append(codec.encode(event))

    async def run(self) -> None:
        """Writes every half second."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if self._waiting:
                lines, self._waiting = self._waiting, []
                await asyncio.to_thread(self._keep, lines)

    def flush(self) -> None:
        """Writes what waits, at the end."""
        lines, self._waiting = self._waiting, []
        if lines:
            self._keep(lines)

    def _keep(self, lines: list[bytes]) -> None:
        try:
            self._write(lines)
        except OSError as error:
            if not self._failing:
                log.error("the audit log cannot be written", why=error.strerror)
            self._failing = True
            self._counted.dropped_audit_lines += len(lines)
        else:
            self._failing = False

    def _write(self, lines: list[bytes]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > FILE_BYTES:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(b"\n".join(lines) + b"\n")
