"""A Podman of the cluster's own: which one is refused, whose images it reads, and the check suite of runtimes on it."""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import engines as test_engines
import pytest

from fairlead.base import clock
from fairlead.cluster import rootless
from fairlead.node import folders, image_stores, own_podman, processes

ROOT = Path(__file__).parents[2]
NO_PODMAN = test_engines.missing() or rootless.reason_against()
# Pulls that are tried until a registry that is not there has not answered take their seconds with every engine.
QUICK = "not whatever_the_policy and not cannot_be_had"


def places(folder):
    return own_podman.Places(folder / "containers", folder / "podman.sock", folder / "podman.log")


def find(folder, environ, forced="auto"):
    inner = processes.ProcessRuntime(processes.ProcessSettings(folder, ("false",)))
    return own_podman.find(environ, inner, places(folder), timer=clock.SystemClock(), forced=forced)


def program(folder):
    (folder / "podman").touch(mode=0o755)
    return {"PATH": str(folder), "HOME": str(folder)}


@pytest.mark.parametrize("forced", ["docker", "/run/docker.sock"])
def test_an_engine_that_runs_elsewhere_is_refused_with_the_way_out(tmp_path, forced):
    found, service = find(tmp_path, program(tmp_path), forced)
    assert (found.runtime, service) == (None, None)
    assert "--runtime podman" in found.reason


def test_without_the_program_the_reason_says_what_is_missing(tmp_path):
    found, service = find(tmp_path, {"PATH": str(tmp_path)})
    assert (found.runtime, service) == (None, None)
    assert "not installed" in found.reason
    assert "--runtime process" in find(tmp_path, program(tmp_path), "process")[0].reason


def test_nothing_is_started_before_an_image_needs_it(tmp_path):
    found, service = find(tmp_path, program(tmp_path), "podman")
    assert found.runtime is not None
    assert not found.runtime.own_limits
    assert service is not None
    assert not (tmp_path / "containers").exists()


def store(folder, driver):
    (folder / f"{driver}-images").mkdir(parents=True)
    (folder / f"{driver}-images" / "images.json").write_text("[]")
    return image_stores.Store(folder, driver)


class TestImageStores:
    @pytest.mark.parametrize("driver", image_stores.DRIVERS)
    def test_it_is_where_podman_has_it_by_default(self, tmp_path, driver):
        wanted = store(tmp_path / ".local/share/containers/storage", driver)
        assert image_stores.of_user({"HOME": str(tmp_path)}, 1000) == wanted
        data = {"HOME": "/nowhere", "XDG_DATA_HOME": str(tmp_path / ".local/share")}
        assert image_stores.of_user(data, 1000) == wanted

    def test_or_where_the_users_settings_say(self, tmp_path):
        wanted = store(tmp_path / "own", "vfs")
        store(tmp_path / "own", "overlay")
        (tmp_path / ".config/containers").mkdir(parents=True)
        text = f"[storage]\ndriver = 'vfs'\ngraphroot = '{tmp_path}/own'\n"
        (tmp_path / ".config/containers/storage.conf").write_text(text)
        assert image_stores.of_user({"HOME": str(tmp_path)}, 1000) == wanted

    @pytest.mark.parametrize("text", ["", "[storage", "storage = 3", "[storage]\ndriver = 'btrfs'", "\x00"])
    def test_what_cannot_be_shared_or_read_is_none(self, tmp_path, text):
        (tmp_path / "storage.conf").write_text(text)
        environ = {"HOME": str(tmp_path), "CONTAINERS_STORAGE_CONF": str(tmp_path / "storage.conf")}
        assert image_stores.of_user(environ, 1000) is None


def test_the_users_store_is_read_and_another_one_written(tmp_path):
    where, images = places(tmp_path), image_stores.Store(Path('/home/"me"/storage'), "overlay")
    words = own_podman.words(where, images)
    assert f".imagestore={images.folder}" in words
    assert words[words.index("--root") + 1] == str(tmp_path / "containers" / "overlay")
    settings = tomllib.loads(own_podman.settings(where, images))["storage"]
    assert settings["graphroot"] == str(tmp_path / "containers" / "overlay")
    assert settings["driver"] == "overlay"
    assert "imagestore" not in json.dumps([own_podman.words(where, None), own_podman.settings(where, None)])


@pytest.mark.system
@pytest.mark.skipif(bool(NO_PODMAN), reason=NO_PODMAN or "-")
def test_the_namespaces_have_locks_and_a_resolver_of_their_own(tmp_path):
    """Made twice, as two services after each other would; the machine's stay as they are."""
    code = """
import pathlib, sys
from fairlead.node import dns, own_podman
for _ in range(2):
    own_podman.own_shared_memory()
    pathlib.Path("/dev/shm/ours").touch()
    own_podman.own_resolver(
        pathlib.Path(sys.argv[1]), host=dns.Config(("127.0.0.53",), ("example",)), behind=dns.Config(("192.0.2.53",))
    )
print(sum(" - tmpfs fairlead " in line for line in open("/proc/self/mountinfo")))
print(open("/etc/resolv.conf").read())
"""
    before = Path("/etc/resolv.conf").read_text()
    words = ["unshare", "-Urnm", sys.executable, "-c", code, str(tmp_path / "resolv.conf")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "search", "example", "nameserver", "192.0.2.53"], done.stderr
    assert Path("/etc/resolv.conf").read_text() == before
    assert not Path("/dev/shm/ours").exists()


def test_files_that_their_owner_may_not_write_beside_are_removed(tmp_path):
    (tmp_path / "layer" / "etc" / "deep").mkdir(parents=True)
    (tmp_path / "layer" / "etc" / "file").touch()
    (tmp_path / "layer" / "link").symlink_to("/")
    for name in ("layer/etc/deep", "layer/etc", "layer"):
        (tmp_path / name).chmod(0)
    folders.remove_tree(tmp_path / "layer")
    assert not (tmp_path / "layer").exists()
    folders.remove_tree(tmp_path / "layer")


@pytest.mark.system
@pytest.mark.skipif(bool(NO_PODMAN), reason=NO_PODMAN or "-")
@pytest.mark.timeout(120)
def test_the_check_suite_of_runtimes_passes_in_a_user_namespace():
    # A run has a folder of its own, beside ours: Podman takes no path for its state of more than 50 characters.
    beside = Path(tempfile.gettempdir()).parent
    environ = {**os.environ, "TMPDIR": str(beside), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [
        "unshare", "-Urnm", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", QUICK,
        str(Path(__file__).with_name("test_runtimes.py")),
    ]  # fmt: skip
    done = subprocess.run(words, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
