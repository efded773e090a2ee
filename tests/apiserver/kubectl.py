"""Runs the real kubectl against a test's API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a run printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Kubectl:
    """`await kubectl("get", "pods")`; fails the test unless the exit code is the expected one."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    async def __call__(self, *words: str, stdin: str = "", code: int | None = 0) -> Result:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(stdin.encode())
        result = Result(process.returncode or 0, out.decode(), err.decode())
        assert code is None or result.code == code, f"kubectl {' '.join(words)} -> {result.code}\n{result.text}"
        return result

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        """Starts a kubectl that runs on; the test ends it."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            "kubectl", *words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment
        )
