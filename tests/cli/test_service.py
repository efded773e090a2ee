"""The systemd unit of a cluster: what it says, and that systemd finds nothing wrong with it."""

import os
import shutil
import subprocess

import pytest
from click.testing import CliRunner

from fairlead.cli import service


def printed(*words):
    done = CliRunner().invoke(service.command, ["install", "--dry-run", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_unit_runs_the_cluster_with_the_options_that_were_given(monkeypatch):
    monkeypatch.setenv("FAIRLEAD_STATE", "/srv/some where/100%")
    text = printed("--name", "shop", "--http", ":80", "--network", "kernel")
    assert " -m fairlead.cli.main serve --name shop --http :80 --network kernel\n" in text
    assert 'Environment="FAIRLEAD_STATE=/srv/some where/100%%"\n' in text
    assert "WantedBy=multi-user.target" in text
    assert "KillMode=process" in text  # pods and engine outlive fairlead


def test_a_users_unit_is_the_users():
    text = printed("--user")
    assert "WantedBy=default.target" in text
    assert "network-online" not in text
    assert str(service.place("shop", user=True)).endswith("systemd/user/fairlead-shop.service")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("user", [(), ("--user",)])
def test_systemd_finds_nothing_wrong_with_it(tmp_path, user):
    path = tmp_path / "fairlead-shop.service"
    path.write_text(printed("--name", "shop", *user))
    words = ["systemd-analyze", *(("--user",) if user else ()), "--man=no", "verify", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path)})
    complaints = [line for line in done.stderr.splitlines() if "fairlead" in line]
    assert complaints == []


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
def test_a_machine_without_systemd_is_told():
    done = CliRunner().invoke(service.command, ["install", "--name", "shop"])
    assert done.exit_code != 0
    assert "systemd does not run here" in done.output
