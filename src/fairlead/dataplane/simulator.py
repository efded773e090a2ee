"""The engine's balancing under virtual time, as a process that is asked step by step (`fairlead-engine simulate`).

Blocking: for the command line and tests. Refuses: a configuration or step that the engine refuses, with its reason.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self


class SimulatorError(Exception):
    """The engine refused, or ended."""


class Simulator:
    """One world; it ends with the `with`. Fields of the configuration: engine/src/simulate/world.rs, `Config`."""

    def __init__(self, binary: str, **config: Any) -> None:
        self._process = subprocess.Popen(
            [binary, "simulate"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._say(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def step(self, *, seconds: float, rate: float, endpoints: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """So much time with that rate and those endpoints. Raises SimulatorError."""
        self._say({"seconds": seconds, "rate": rate, "endpoints": list(endpoints)})
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SimulatorError(self._reason())
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SimulatorError(self._reason()) from None

    def _reason(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().strip() or "the simulator ended"
