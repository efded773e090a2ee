"""`fairlead backup` and `fairlead restore`, as a user runs them, of a running cluster and of a stopped one."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import local

pytestmark = pytest.mark.system


@pytest.fixture
def cluster() -> Iterator[local.Local]:
    made = local.make(Path(tempfile.mkdtemp(prefix="fl-state-")), "loopback")
    try:
        yield made
    finally:
        local.remove(made)


def _names(cluster: local.Local) -> set[str]:
    found = cluster.kubectl("get", "configmaps", "-o", "name").split()
    return {name.partition("/")[2] for name in found} - {"kube-root-ca.crt"}


def _restore(cluster: local.Local, file: Path, *, check: bool = True) -> str:
    done = cluster.fairlead("restore", "--name", cluster.name, str(file), check=check)
    return done.stdout + done.stderr


def test_what_was_saved_is_back_and_what_came_later_is_kept_aside(cluster: local.Local, tmp_path: Path) -> None:
    manifest = tmp_path / "app.yaml"
    manifest.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: first}}")
    cluster.up(manifest)
    running, stopped = tmp_path / "running.backup", tmp_path / "stopped.backup"
    saved = cluster.fairlead("backup", "--name", cluster.name, str(running))
    assert f"is saved in {running}" in saved.stdout and running.stat().st_mode & 0o777 == 0o600
    again = cluster.fairlead("backup", "--name", cluster.name, str(running), check=False)
    assert again.returncode == 1 and f"{running} exists already" in again.stderr
    cluster.kubectl("create", "configmap", "second")
    assert "is running" in _restore(cluster, running, check=False)

    cluster.down()
    # It is written beside the requests; whoever ends writes what waits.
    assert "fairlead/backup" in (cluster.state.log / "audit.log").read_text()
    cluster.fairlead("backup", "--name", cluster.name, str(stopped))
    assert "before-restore" in _restore(cluster, running)
    cluster.up()
    assert _names(cluster) == {"first"}

    cluster.down()
    _restore(cluster, stopped)
    cluster.up()
    assert _names(cluster) == {"first", "second"}
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_files_that_are_no_backup_are_refused_by_name(cluster: local.Local, tmp_path: Path) -> None:
    cluster.up()
    good = tmp_path / "good.backup"
    cluster.fairlead("backup", "--name", cluster.name, str(good))
    cluster.down()
    before = cluster.state.store.read_bytes()
    damaged, newer, other = tmp_path / "damaged", tmp_path / "newer", tmp_path / "other"
    damaged.write_bytes(good.read_bytes().replace(b"kube-system", b"kube-sistem", 3))
    newer.write_bytes(good.read_bytes())
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    other.write_text("a letter")
    for path, reason in ((damaged, "is damaged"), (newer, "newer fairlead"), (other, "is damaged")):
        text = _restore(cluster, path, check=False)
        assert f"{path} " in text and reason in text, text
    assert "does not exist" in _restore(cluster, tmp_path / "none", check=False)
    assert cluster.state.store.read_bytes() == before
