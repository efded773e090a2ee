"""`fairlead hpa replay` shows a table, compares specs and draws a picture; mistakes are one line."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fairlead.cli import hpa

SPEC = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: MIN
  maxReplicas: 20
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(SPEC.replace("MIN", "2"))
    (tmp_path / "b.yaml").write_text(SPEC.replace("MIN", "5"))
    (tmp_path / "trace.csv").write_text("seconds,rps\n0,50\n20,400\n60,400\n")
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(hpa.command, ["replay", "--formula", "--load", str(folder / "trace.csv"), *arguments])
    return done.exit_code, done.output


def test_two_specs_are_compared_and_drawn(folder: Path) -> None:
    picture = folder / "out.svg"
    code, output = run(
        folder, "-f", str(folder / "a.yaml"), "-f", str(folder / "b.yaml"), "--cost-ms", "2", "--svg", str(picture)
    )
    assert code == 0
    assert "replicas x seconds" in output and output.count("a.yaml") == 2
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "kind: Service\napiVersion: v1\nmetadata: {name: x}\n", "one HorizontalPodAutoscaler"),
        ("trace.csv", "0,1\n0,2\n", "line 2"),
    ],
)
def test_mistakes_are_one_line(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    code, output = run(folder, "-f", str(folder / "a.yaml"))
    assert code == 1
    assert message in output and "Traceback" not in output
