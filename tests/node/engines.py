"""A Podman service of the tests' own: its storage in a temporary folder, one image `fltest:1` of busybox alone."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

APPLETS = ("sh", "sleep", "echo", "cat", "id", "env", "ls", "test", "hostname", "true", "touch", "rm", "kill", "httpd")


def missing() -> str:
    """Why there can be no such service here."""
    if os.geteuid() != 0:
        return "needs root"
    for name in ("podman", "runc", "busybox"):
        if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            return f"needs {name}"
    return ""


@contextlib.contextmanager
def service():
    """The path of the service's socket."""
    folder = Path(tempfile.mkdtemp(prefix="fl-podman-"))
    words = [
        "podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp"),
        "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs",
    ]  # fmt: skip
    image = folder / "image"
    (image / "bin").mkdir(parents=True)
    (image / "tmp").mkdir()
    shutil.copy(shutil.which("busybox"), image / "bin" / "busybox")
    for name in APPLETS:
        (image / "bin" / name).symlink_to("busybox")
    subprocess.run(["tar", "-C", str(image), "-cf", str(folder / "image.tar"), "."], check=True)
    changes = ["--change", 'CMD ["sleep", "600"]', "--change", "ENV PATH=/bin"]
    load = [*words, "import", *changes, str(folder / "image.tar"), "fltest:1"]
    done = subprocess.run(load, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    socket = folder / "podman.sock"
    process = subprocess.Popen(
        [*words, "system", "service", "--time=0", f"unix://{socket}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not socket.is_socket():
            assert process.poll() is None
            time.sleep(0.02)
        yield str(socket)
        subprocess.run([*words, "rm", "--all", "--force", "--time", "0"], capture_output=True, check=False)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
