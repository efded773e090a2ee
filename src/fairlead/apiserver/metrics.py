"""What the API server counts, in Prometheus' text format, under Kubernetes' own metric names."""

from __future__ import annotations

import bisect
import resource
from collections import Counter
from pathlib import Path

from fairlead.apiserver import requests
from fairlead.store import protocol

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MAX_SERIES = 4096


class Metrics:
    """Counts requests; the rest is read when somebody asks."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[tuple[str, str], list[float]] = {}
        self.dropped_audit_lines = 0

    def observe(self, info: requests.Info | None, code: int, seconds: float) -> None:
        """One answered request."""
        verb = info.verb if info is not None and info.resource else "get" if info is not None else "unknown"
        name = info.resource if info is not None and code not in (403, 404) else ""
        if (verb, name, code) in self._requests or len(self._requests) < _MAX_SERIES:
            self._requests[verb, name, code] += 1
        series = self._durations.get((verb, name))
        if series is None:
            if len(self._durations) >= _MAX_SERIES:
                return
            series = self._durations[verb, name] = [0.0] * (len(BUCKETS) + 2)
        if seconds <= BUCKETS[-1]:
            series[bisect.bisect_left(BUCKETS, seconds)] += 1
        series[-2] += 1
        series[-1] += seconds

    def render(self, store: protocol.Store, *, in_flight: int, shared_watches: int = 0) -> str:
        """The text."""
        lines = ["# TYPE apiserver_request_total counter"]
        for (verb, name, code), count in sorted(self._requests.items()):
            lines.append(f'apiserver_request_total{{verb="{verb}",resource="{name}",code="{code}"}} {count}')
        lines.append("# TYPE apiserver_request_duration_seconds histogram")
        for (verb, name), series in sorted(self._durations.items()):
            labels = f'verb="{verb}",resource="{name}"'
            total = 0.0
            for limit, number in zip(BUCKETS, series, strict=False):
                total += number
                lines.append(f'apiserver_request_duration_seconds_bucket{{{labels},le="{limit:g}"}} {total:g}')
            lines.append(f'apiserver_request_duration_seconds_bucket{{{labels},le="+Inf"}} {series[-2]:g}')
            lines.append(f"apiserver_request_duration_seconds_count{{{labels}}} {series[-2]:g}")
            lines.append(f"apiserver_request_duration_seconds_sum{{{labels}}} {series[-1]:.6f}")
        lines += [
            "# TYPE apiserver_current_inflight_requests gauge",
            f"apiserver_current_inflight_requests {in_flight}",
        ]
        lines.append("# TYPE apiserver_storage_objects gauge")
        for bucket, count in sorted(store.buckets().items()):
            lines.append(f'apiserver_storage_objects{{resource="{bucket}"}} {count}')
        lines += ["# TYPE fairlead_watches gauge", f"fairlead_watches {store.watchers() + shared_watches}"]
        lines += ["# TYPE fairlead_store_revision counter", f"fairlead_store_revision {store.revision}"]
        lines += [
            "# TYPE fairlead_audit_dropped_total counter",
            f"fairlead_audit_dropped_total {self.dropped_audit_lines}",
        ]
        return "\n".join([*lines, *_process()]) + "\n"


def _process() -> list[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return [
        "# TYPE process_cpu_seconds_total counter",
        f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime:.3f}",
        "# TYPE process_resident_memory_bytes gauge",
        f"process_resident_memory_bytes {pages * resource.getpagesize()}",
    ]
