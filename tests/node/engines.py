"""A Podman service and a Docker daemon of the tests' own: their storage in a temporary folder, one image `fltest:1` of
busybox alone."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

APPLETS = ("sh", "sleep", "echo", "cat", "id", "env", "ls", "test", "hostname", "true", "touch", "rm", "kill", "httpd")


def missing(*programs: str) -> str:
    """Why there can be no such service here."""
    if os.geteuid() != 0:
        return "needs root"
    for name in (*(programs or ("podman",)), "runc", "busybox"):
        if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            return f"needs {name}"
    return ""


def archive(folder: Path) -> Path:
    """The image's file system, packed."""
    image = folder / "image"
    (image / "bin").mkdir(parents=True)
    (image / "tmp").mkdir()
    shutil.copy(str(shutil.which("busybox")), image / "bin" / "busybox")
    for name in APPLETS:
        (image / "bin" / name).symlink_to("busybox")
    subprocess.run(["tar", "-C", str(image), "-cf", str(folder / "image.tar"), "."], check=True)
    return folder / "image.tar"


@contextlib.contextmanager
def docker_service() -> Iterator[str]:
    """The path of a Docker daemon's socket. It has no network, no rules and a cgroup of its own, all gone afterwards.
    Skips where it cannot be started."""
    folder = Path(tempfile.mkdtemp(prefix="fl-docker-"))
    path, log = folder / "docker.sock", folder / "log"
    words = [
        "dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "run"), "--pidfile",
        str(folder / "pid"), "-H", f"unix://{path}", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
        "--bridge=none", "--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs",
        "--cgroup-parent", folder.name,
    ]  # fmt: skip
    environ = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=environ)
    try:
        for _ in range(1000):
            if b"API listen on" in log.read_bytes() or process.poll() is not None:
                break
            time.sleep(0.02)
        else:
            process.kill()
        if process.poll() is not None:
            pytest.skip(f"dockerd cannot be started here: {log.read_text().strip().splitlines()[-1]}")
        _import(str(path), archive(folder))
        yield str(path)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        subprocess.run(
            ["umount", "-R", *map(str, (folder / "run" / "netns").glob("*"))], capture_output=True, check=False
        )
        shutil.rmtree(folder, ignore_errors=True)
        plugins = Path("/run/docker/plugins")  # which dockerd makes, whatever its folders are
        for left in (*Path("/sys/fs/cgroup").glob(f"*/{folder.name}"), plugins, plugins.parent):
            with contextlib.suppress(OSError):  # others use it
                left.rmdir()


def _import(path: str, tar: Path) -> None:
    words = [("fromSrc", "-"), ("repo", "localhost/fltest"), ("tag", "1")]
    words += [("changes", 'CMD ["sleep", "600"]'), ("changes", "ENV PATH=/bin")]
    engine = http.client.HTTPConnection("engine")
    engine.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    engine.sock.connect(path)
    engine.request("POST", f"/v1.41/images/create?{urllib.parse.urlencode(words)}", tar.read_bytes())
    answer = engine.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    engine.close()


def add_image(folder: Path, name: str, changes: Iterable[str]) -> None:
    """Makes another image in the store below the folder."""
    words = ["podman", "--root", str(folder / "store"), "--runroot", str(folder / "run"), "--tmpdir"]
    words += [str(folder / "tmp"), "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "import"]
    words += [f"--change={change}" for change in ("ENV PATH=/bin", *changes)]
    tar = str(folder / "image.tar")
    environ = {key: value for key, value in os.environ.items() if key != "CONTAINERS_STORAGE_CONF"}
    done = subprocess.run([*words, tar, f"{name}:1"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def user_images(**images: Iterable[str]) -> Iterator[Path]:
    """A user's store of images: each name has the changes of its image. Its storage.conf."""
    folder = Path(tempfile.mkdtemp(prefix="fl-images-"))
    archive(folder)
    for name, changes in images.items():
        add_image(folder, name, changes)
    (folder / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "store"}"\n')
    try:
        yield folder / "storage.conf"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def service() -> Iterator[str]:
    """The path of the service's socket."""
    folder = Path(tempfile.mkdtemp(prefix="fl-podman-"))
    words = [
        "podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp"),
        "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs",
    ]  # fmt: skip
    changes = ["--change", 'CMD ["sleep", "600"]', "--change", "ENV PATH=/bin"]
    load = [*words, "import", *changes, str(archive(folder)), "fltest:1"]
    done = subprocess.run(load, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path = folder / "podman.sock"
    process = subprocess.Popen(
        [*words, "system", "service", "--time=0", f"unix://{path}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not path.is_socket():
            assert process.poll() is None
            time.sleep(0.02)
        yield str(path)
        subprocess.run([*words, "rm", "--all", "--force", "--time", "0"], capture_output=True, check=False)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
