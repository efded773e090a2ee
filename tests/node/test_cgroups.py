"""What is to be made for a container, under both versions of cgroups."""

import subprocess
import sys

import pytest

from fairlead.node import cgroups

LIMITS = cgroups.Limits(cpu_cores=0.5, memory_bytes=1 << 20)


@pytest.fixture(params=["v1", "v2"])
def root(request, tmp_path):
    """A folder that looks like /sys/fs/cgroup."""
    if request.param == "v2":
        (tmp_path / "cgroup.controllers").touch()
    for word in ("cpu", "memory", "pids") if request.param == "v1" else ():
        (tmp_path / word).mkdir()
        (tmp_path / word / "cgroup.procs").touch()
    return tmp_path


def planned(root, limits, container="app"):
    found = cgroups.Cgroups("test", root=root, most_processes=9)
    assert found.why == ""
    return {path.removeprefix(f"{root}/"): files for path, files in found.plan("u1", container, limits).items()}


def test_every_container_has_a_limited_number_of_processes(root):
    made = planned(root, cgroups.Limits())
    own = {path: files for path, files in made.items() if path.endswith("/u1/app")}
    assert [files["pids.max"] for files in own.values()] == ["9"]


def test_limits_are_written_in_the_words_of_the_version(root):
    made = planned(root, LIMITS)
    if (root / "cgroup.controllers").exists():
        assert made == {
            "fairlead": {"cpu.weight": "100"},
            "fairlead/test/u1": {"cgroup.subtree_control": "+cpu +memory +pids"},
            "fairlead/test/u1/app": {
                "cpu.max": "50000 100000", "memory.max": "1048576", "memory.oom.group": "1", "pids.max": "9",
            },
        }  # fmt: skip
    else:
        assert made == {
            "cpu/fairlead": {"cpu.shares": "1024"},
            "cpu/fairlead/test/u1/app": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"},
            "memory/fairlead/test/u1/app": {"memory.limit_in_bytes": "1048576"},
            "pids/fairlead/test/u1/app": {"pids.max": "9"},
        }


def test_what_an_earlier_life_left_counts(root):
    base = root / "fairlead" if (root / "cgroup.controllers").exists() else root / "cpu" / "fairlead"
    (base / "test" / "u0" / "app").mkdir(parents=True)
    made = planned(root, LIMITS)
    assert next(files for files in made.values() if "cpu.weight" in files or "cpu.shares" in files) in (
        {"cpu.weight": "200"},
        {"cpu.shares": "2048"},
    )


def test_without_cgroups_a_process_is_held_to_what_setrlimit_can():
    most = 2 * LIMITS.memory_bytes + cgroups.SPARE_DATA_BYTES
    assert cgroups.instead(LIMITS) == {"data": (most, most)}
    assert cgroups.instead(cgroups.Limits(cpu_cores=1.0)) == {}


def test_a_hard_limit_is_never_raised():
    code = (
        "import resource; from fairlead.node import cgroups; most = 1 << 33; "
        "resource.setrlimit(resource.RLIMIT_DATA, (most, most)); "
        "assert cgroups.instead(cgroups.Limits(memory_bytes=1 << 40)) == {'data': (most, most)}"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_cannot_be_removed_yet_goes_with_the_next_pods(root):
    """A file stands for a process that is still ending: the kernel removes no cgroup with one in it."""
    found = cgroups.Cgroups("test", root=root, most_processes=9)
    for uid in ("u1", "u2"):
        for path in found.plan(uid, "app", LIMITS):
            (root / path).mkdir(parents=True, exist_ok=True)
    left = sorted(root.glob("**/u1/app"))
    assert left and found.uids() == {"u1", "u2"}
    for path in left:
        (path / "process").touch()
    found.remove("u1")
    assert sorted(root.glob("**/u1/app")) == left
    for path in left:
        (path / "process").unlink()
    found.remove("u2")
    assert not [*root.glob("**/u1"), *root.glob("**/u2")]
