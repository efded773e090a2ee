"""What `fairlead record` writes and `fairlead hpa replay` reads: one line a second, CSV with a header. Pure.

The first two columns are all that a replay needs of a load (see `replay.read_trace`); from the others it learns what a
request cost. A cell is empty where nothing was known at that second.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Line:
    """One second. `cpu_cores` of all pods together, `replicas` the pods that are ready."""

    seconds: float
    requests_per_second: float
    requests_in_flight: float | None = None
    latency_p95_seconds: float | None = None
    replicas: int | None = None
    cpu_cores: float | None = None


HEADER = ",".join(one.name for one in fields(Line))


def render(line: Line) -> str:
    """The line as it stands in the file, without its end."""
    cells = (getattr(line, one.name) for one in fields(Line))
    return ",".join("" if cell is None else f"{cell:.6g}" for cell in cells)


def cost_seconds(text: str) -> float | None:
    """What a request cost in seconds of CPU, over all lines that tell both; None where none does."""
    cores = requests = 0.0
    for row in csv.DictReader(io.StringIO(text)):
        try:
            used, rate = float(row.get("cpu_cores") or ""), float(row.get("requests_per_second") or "")
        except ValueError:
            continue
        cores, requests = cores + used, requests + rate
    return cores / requests if cores > 0 and requests > 0 else None
