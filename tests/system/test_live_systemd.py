"""`fairlead service` under a living systemd: one of the test's own, as PID 1 of namespaces made for it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fairlead.testing import ports as free_ports

pytestmark = pytest.mark.system

SYSTEMD = "/lib/systemd/systemd"
CGROUPS = Path("/sys/fs/cgroup")
# It is given a handful of units and sees none of the machine's, whose file system it cannot write to.
BOOT = r"""
set -e
mount --make-rprivate /
mount --bind "$FOLDER" "$FOLDER"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/systemd/system
mount -t tmpfs tmpfs /lib/systemd/system-generators
mount -t proc proc /proc
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mount -t cgroup2 cgroup2 /sys/fs/cgroup; else
  mount -t tmpfs groups /sys/fs/cgroup; cd /sys/fs/cgroup; mkdir systemd $V1
  mount -t cgroup -o none,name=systemd cgroup systemd
  for one in $V1; do mount -t cgroup -o $one cgroup $one; done
fi
mount -o remount,bind,ro /
ip link set lo up
cd /etc/systemd/system
for target in default sysinit basic multi-user network-online shutdown umount final; do
  printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' $target > $target.target
done
exec env -i container=test PATH="$PATH" LANG=C.UTF-8 SYSTEMD_UNIT_PATH=/etc/systemd/system \
  $SYSTEMD --system --log-target=console --show-status=no --unit=default.target
"""


def needs_a_machine(test):
    test = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")(test)
    return pytest.mark.skipif(not Path(SYSTEMD).exists(), reason="needs systemd's program")(test)


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"terminationGracePeriodSeconds": 1, "containers": [
        {"name": "app", "image": "x", "command": ["/bin/sh", "-c", "exec sleep 600"]},
    ]},
}  # fmt: skip


class Machine:
    """Namespaces with a systemd in them."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid = pid
        self.folder = folder
        self.name = f"t{folder.name[-6:].replace('_', '0').lower()}"
        self.unit = f"fairlead-{self.name}.service"

    def run(self, *words: str, check: bool = True, stdin: str | None = None) -> str:
        """A command inside."""
        config = self.folder / "state" / self.name / "kubeconfig"
        env = {**os.environ, "FAIRLEAD_STATE": str(self.folder / "state"), "KUBECONFIG": str(config)}
        inside = ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "-u", "-C", *words]
        done = subprocess.run(
            inside, env=env, capture_output=True, text=True, input=stdin, timeout=100, check=False, cwd="/"
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def fairlead(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "fairlead.cli.main", *words, "--name", self.name)

    def install(self) -> None:
        """Enables and starts the unit."""
        doors = [f"127.0.0.1:{free_ports.free()}" for _ in range(2)]
        assert "is enabled" in self.fairlead("service", "install", "--http", doors[0], "--https", doors[1])

    def ready(self) -> None:
        """Returns when the pod is."""
        self.run("kubectl", "wait", "--for=condition=Ready", "pod/web", "--timeout=30s")

    def main_pid(self) -> str:
        return self.run("systemctl", "show", "-p", "MainPID", "--value", self.unit)

    def pod(self) -> dict:
        return json.loads(self.run("kubectl", "get", "pod", "web", "-o", "json"))


@contextlib.contextmanager
def booted(folder: Path):
    """The machine; skips where systemd does not come up."""
    controllers = [one for one in ("cpu", "memory", "pids") if (CGROUPS / one / "cgroup.procs").exists()]
    groups = (
        [CGROUPS / one / folder.name for one in ("systemd", *controllers)] if controllers else [CGROUPS / folder.name]
    )
    join = "".join(f"mkdir -p {one} && echo $$ > {one}/cgroup.procs; " for one in groups)
    unshare = 'exec unshare -n -m -p -u -C -f --kill-child /bin/sh -c "$BOOT"'
    env = {**os.environ, "BOOT": BOOT, "V1": " ".join(controllers), "SYSTEMD": SYSTEMD, "FOLDER": str(folder)}
    with (folder / "log").open("wb") as log:
        outer = subprocess.Popen(["/bin/sh", "-c", join + unshare], env=env, stdout=log, stderr=log)
    try:
        machine = None
        for _ in range(500):
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            machine = Machine(int(children[0]), folder) if children else None
            if machine and machine.run("systemctl", "is-system-running", check=False) in ("running", "degraded"):
                break
            if outer.poll() is not None:
                break
            time.sleep(0.02)
        else:
            machine = None
        if machine is None or outer.poll() is not None:
            pytest.skip(f"systemd does not come up here: {(folder / 'log').read_text()[-300:]}")
        yield machine
    finally:
        outer.send_signal(signal.SIGKILL)  # and with it all of the PID namespace
        outer.wait(10)
        for _ in range(500):  # the last of them may still be on their way
            for group in groups:
                for path in sorted((path for path in group.glob("**/") if path.is_dir()), reverse=True):
                    with contextlib.suppress(OSError):
                        path.rmdir()
            if not any(group.exists() for group in groups):
                break
            time.sleep(0.01)


@needs_a_machine
def test_the_unit_comes_up_survives_a_crash_and_stops_as_down_does():
    folder = Path(tempfile.mkdtemp(prefix="fl-systemd-"))
    try:
        with booted(folder) as machine:
            machine.install()
            assert machine.run("systemctl", "is-active", machine.unit) == "active"
            assert machine.run("systemctl", "is-enabled", machine.unit) == "enabled"
            machine.run("kubectl", "apply", "-f", "-", stdin=json.dumps(POD))
            machine.ready()
            before, main = machine.pod()["status"], machine.main_pid()
            machine.run("kill", "-9", main)
            for _ in range(1000):
                if machine.main_pid() not in ("0", main):
                    break
                time.sleep(0.02)
            for _ in range(1000):
                if machine.run("systemctl", "is-active", machine.unit, check=False) == "active":
                    break
                time.sleep(0.02)
            machine.ready()
            assert machine.pod()["status"]["containerStatuses"] == before["containerStatuses"]
            machine.run("systemctl", "stop", machine.unit)
            left = machine.run("ps", "-e", "-o", "args")
            assert "fairlead-shim" not in left
            assert "fairlead-engine" not in left
            assert "sleep 600" not in left
            machine.run("systemctl", "start", machine.unit)
            machine.ready()
            assert "is removed" in machine.fairlead("service", "uninstall")
            assert machine.run("systemctl", "list-unit-files", machine.unit, "--no-legend", check=False) == ""
            assert str(folder) not in machine.run("ps", "-e", "-o", "args")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@needs_a_machine
def test_a_machine_that_is_switched_off_comes_back_with_what_the_store_says():
    folder = Path(tempfile.mkdtemp(prefix="fl-systemd-"))
    try:
        with booted(folder) as machine:
            machine.install()
            machine.run("kubectl", "apply", "-f", "-", stdin=json.dumps(POD))
            machine.ready()
            before = machine.pod()
        # Every process, link, mount and file of /run is gone, without a farewell.
        with booted(folder) as machine:
            machine.install()
            machine.run(
                "kubectl",
                "wait",
                "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
                "pod/web",
                "--timeout=30s",
            )
            machine.ready()
            after = machine.pod()
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            entry, earlier = (pod["status"]["containerStatuses"][0] for pod in (after, before))
            assert entry["lastState"]["terminated"]["containerID"] == earlier["containerID"]
            assert machine.run("pgrep", "-c", "-f", "sleep 600") == "1"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
