"""`fairlead record`: what a running cluster carries, in a file that `fairlead hpa replay` takes."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path

import pytest

from tests.system import load, local

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


async def test_a_recorded_load_is_replayed(my_app: local.Local, tmp_path: Path) -> None:
    """Of a Service and of an Ingress at the same time; only of a Service are the pods known."""
    knows_pods = {"service/my-app-service": True, "ingress/my-app": False}
    files = {what: tmp_path / f"{what.replace('/', '-')}.csv" for what in knows_pods}
    async with load.Load("127.0.0.1", my_app.edge_port, rate=50, header="my-app.localhost"):
        words = [("record", "--name", my_app.name, what, "--seconds", "4", "-o", str(files[what])) for what in files]
        await asyncio.gather(*(asyncio.to_thread(my_app.fairlead, *arguments) for arguments in words))
    for what, file in files.items():
        rows = list(csv.DictReader(file.read_text().splitlines()))
        assert len(rows) >= 3
        rates = [float(row["requests_per_second"]) for row in rows[1:]]
        assert 20 < sum(rates) / len(rates) < 80, rates  # what a busy machine delays by a second comes in the next one
        assert all(row["replicas"] == "3" for row in rows) == knows_pods[what]
        hpa = local.EXAMPLE / "hpa.yaml"
        said = my_app.fairlead("hpa", "replay", "-f", str(hpa), "--load", str(file), "--svg", str(tmp_path / "out.svg"))
        assert "most replicas" in said.stdout
        assert (tmp_path / "out.svg").read_text().startswith("<svg")


def test_what_cannot_be_recorded_is_said(my_app: local.Local) -> None:
    done = my_app.fairlead("record", "--name", my_app.name, "pod/x", check=False)
    assert done.returncode == 1 and "service/NAME or ingress/NAME" in done.stderr
    done = my_app.fairlead("record", "--name", my_app.name, "service/nobody", check=False)
    assert done.returncode == 1 and 'services "nobody" not found' in done.stderr
