"""Exec probes for runtimes whose commands we run ourselves: the kubelet's thresholds, and our fast start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fairlead.base import clock
from fairlead.node import runtime

Exec = Callable[..., Awaitable[runtime.ExecResult]]
_FIRST_FAST_SECONDS = 0.01


async def run(
    spec: runtime.ExecProbe, execute: Exec, on_result: Callable[[bool, str], None], *, timer: clock.Clock
) -> None:
    """Asks until cancelled; tells the first result that counts, then transitions."""
    await timer.sleep(spec.initial_delay_seconds)
    told: bool | None = None
    ever, in_row, last = False, 0, False
    fast = _FIRST_FAST_SECONDS if spec.fast_start else spec.period_seconds
    while True:
        ok, message = await _ask(spec, execute)
        ever = ever or ok
        counts = ok or ever or fast >= spec.period_seconds
        if counts:
            in_row = in_row + 1 if ok == last else 1
            last = ok
            if in_row >= (spec.success_threshold if ok else spec.failure_threshold) and ok != told:
                told = ok
                on_result(ok, message)
        await timer.sleep(spec.period_seconds if counts else fast)
        fast = min(fast * 2, spec.period_seconds)


async def _ask(spec: runtime.ExecProbe, execute: Exec) -> tuple[bool, str]:
    answer = await execute(spec.container, spec.argv, env=spec.env, cwd=spec.cwd, timeout_seconds=spec.timeout_seconds)
    if answer.timed_out:
        return False, f"command timed out after {spec.timeout_seconds:g} s"
    said = (answer.stdout + answer.stderr).decode("utf-8", "replace").strip()[:1024]
    return answer.exit_code == 0, said
