"""`fairlead service`: a cluster that comes up with the machine, by a systemd unit.

Promises: the unit stops the cluster as `down` does (drained, with the time it needs), keeps pods and traffic through a
crash of fairlead (only its own process is killed, the next start adopts the rest), replaces a fairlead that hangs for a
minute in the same way, and counts as started when the cluster is.
`--user` is for the user's own systemd. `--dry-run` prints the unit and touches nothing. Refused: a machine
without systemd.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from fairlead.cli import failure, launch, options
from fairlead.cluster import state

_ENVIRONMENT = ("FAIRLEAD_STATE", "FAIRLEAD_ENGINE", "PYTHONPATH", "PATH", "LANG")
_user = click.option("--user", is_flag=True, help="The user's own systemd instead of the machine's.")


@click.group("service")
def command() -> None:
    """Start a cluster with the machine (systemd)."""


@command.command("install")
@options.name
@options.serving
@_user
@click.option("--dry-run", is_flag=True, help="Print the unit and do nothing.")
def install(name: str, user: bool, dry_run: bool, **how: Any) -> None:
    """Write, enable and start a unit that runs the cluster from its kept state."""
    try:
        folder = state.StateFolder.of(name)
    except state.StateError as error:
        raise failure.Failure(str(error)) from None
    text = unit(name, user=user, arguments=_arguments(how))
    if dry_run:
        click.echo(text, nl=False)
        return
    path = place(name, user=user)
    _require_systemd(user=user)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    _systemctl("daemon-reload", user=user)
    running = folder.holder() > 0
    _systemctl("enable", *(() if running else ("--now",)), path.name, user=user)
    click.echo(f"{path} is enabled" + ("; the cluster runs already and is the unit's from the next start on" * running))
    if user:
        click.echo("it starts with your first login; `loginctl enable-linger` makes that the boot")


@command.command("uninstall")
@options.name
@_user
def uninstall(name: str, user: bool) -> None:
    """Stop the cluster and remove its unit; the state is kept."""
    path = place(name, user=user)
    if not path.exists():
        click.echo(f"{path} is not there")
        return
    _require_systemd(user=user)
    _systemctl("disable", "--now", path.name, user=user)
    path.unlink()
    _systemctl("daemon-reload", user=user)
    click.echo(f"{path} is removed; the state is kept (`fairlead down --purge --name {name}` removes it)")


def place(name: str, *, user: bool) -> Path:
    """Where the unit of that cluster is."""
    if user:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return base / "systemd" / "user" / f"fairlead-{name}.service"
    return Path("/etc/systemd/system") / f"fairlead-{name}.service"


def unit(name: str, *, user: bool, arguments: list[str]) -> str:
    """The unit's text."""
    words = [sys.executable, "-m", "fairlead.cli.main", "serve", "--name", name, *arguments]
    given = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
    network = "" if user else "Wants=network-online.target\nAfter=network-online.target\n"
    environment = "".join(f"Environment={_quoted(f'{key}={text}')}\n" for key, text in given.items())
    return f"""\
[Unit]
Description=fairlead cluster {name}
{network}
[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(_quoted(word).replace("$", "$$") for word in words)}
{environment}WorkingDirectory=/
KillMode=process
TimeoutStartSec=90
TimeoutStopSec=180
Restart=on-failure
WatchdogSec=60
WatchdogSignal=SIGKILL
RestartSec=1
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy={"default.target" if user else "multi-user.target"}
"""


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) reads it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if shlex.quote(word) != word else escaped


def _arguments(how: dict[str, Any]) -> list[str]:
    """The options that are not what they are by themselves."""
    return [part for key, text in options.given(how).items() for part in launch.flag(key, text)]


def _require_systemd(*, user: bool) -> None:
    if not Path("/run/systemd/system").is_dir():
        raise failure.Failure("systemd does not run here; --dry-run prints the unit")
    if not user and os.geteuid() != 0:
        raise failure.Failure("a unit of the machine needs root; use sudo, or --user for a unit of your own")


def _systemctl(*words: str, user: bool) -> None:
    done = subprocess.run(
        ["systemctl", *(("--user",) if user else ()), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise failure.Failure(f"systemctl {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
