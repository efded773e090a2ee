"""scripts/best-python: which interpreter `make` takes. Those here are this one, saying that it was built otherwise."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

PLAIN = {"CONFIG_ARGS": "'--enable-shared'", "CC": "gcc", "PGO_PROF_USE_FLAG": "-fprofile-use -fprofile-correction"}
OPTIMISED = {**PLAIN, "CONFIG_ARGS": "'--enable-optimizations' '--with-lto'"}
DEBIAN = {**PLAIN, "CONFIG_ARGS": "'--without-ensurepip'", "CC": "x86_64-linux-gnu-gcc", "PGO_PROF_USE_FLAG": ""}

PRETENDS = """
import platform, sys, sysconfig
sysconfig.get_config_vars().update({variables!r})
platform.machine = lambda: {machine!r}
sys.version_info = {version!r}
if not {venv}: sys.modules["ensurepip"] = None
code = sys.argv[sys.argv.index("-c", 1) + 1]
sys.argv[:] = sys.argv[sys.argv.index(code):]
exec(code)
"""


def an_interpreter(path: Path, variables: dict[str, Any], *, machine: str = "x86_64", venv: bool = True) -> None:
    """Its version is in its name; python3 is a 3.12."""
    version = (3, int(path.name.partition(".")[2] or "12"), 0)
    text = PRETENDS.format(
        variables={"Py_DEBUG": 0, "Py_GIL_DISABLED": 0, **variables}, machine=machine, version=version, venv=venv
    )
    path.parent.mkdir(exist_ok=True)
    path.with_name(path.name + ".pretends").write_text(text)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$0.pretends" "$@"\n')
    path.chmod(0o755)


def best(tmp_path: Path) -> str:
    for folder in ("path", "usr"):
        (tmp_path / folder).mkdir(exist_ok=True)
    done = subprocess.run(
        ["/bin/sh", ROOT / "scripts" / "best-python", tmp_path / "usr"],
        env={"PATH": str(tmp_path / "path")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.strip().removeprefix(f"{tmp_path}/")


@pytest.mark.parametrize("variables", [OPTIMISED, DEBIAN], ids=["configured", "debian"])
def test_an_optimised_python3_on_path_is_taken(tmp_path, variables):
    an_interpreter(tmp_path / "path/python3", variables)
    an_interpreter(tmp_path / "path/python3.14", OPTIMISED)
    assert best(tmp_path) == "path/python3"


def test_before_a_plain_python3_goes_the_newest_optimised_one(tmp_path):
    an_interpreter(tmp_path / "path/python3", PLAIN)
    an_interpreter(tmp_path / "path/python3.13", PLAIN)
    an_interpreter(tmp_path / "usr/python3.12", OPTIMISED)
    an_interpreter(tmp_path / "usr/python3.11", DEBIAN)
    assert best(tmp_path) == "usr/python3.12"


def test_without_an_optimised_one_it_is_python3(tmp_path):
    an_interpreter(tmp_path / "path/python3", PLAIN)
    an_interpreter(tmp_path / "usr/python3.13", PLAIN)
    assert best(tmp_path) == "python3"


@pytest.mark.parametrize(
    ("name", "variables", "more"),
    [
        ("python3.11", OPTIMISED, {"venv": False}),  # Debian without python3-venv
        ("python3.11", DEBIAN, {"machine": "riscv64"}),  # built there without a profile
        ("python3.13", {**OPTIMISED, "Py_GIL_DISABLED": 1}, {}),  # the lock files' wheels are not for it
        ("python3.13", {**OPTIMISED, "Py_DEBUG": 1}, {}),
        ("python3.13", {**PLAIN, "CC": "clang", "PGO_PROF_USE_FLAG": ""}, {}),
        ("python3.15", OPTIMISED, {}),
        ("python3.10", OPTIMISED, {}),
    ],
)
def test_what_would_not_do_is_passed_over(tmp_path, name, variables, more):
    an_interpreter(tmp_path / "usr" / name, variables, **more)
    assert best(tmp_path) == "python3"


def test_a_python3_too_new_for_the_locks_is_passed_over(tmp_path):
    an_interpreter(tmp_path / "path/python3", OPTIMISED)
    text = (tmp_path / "path/python3.pretends").read_text()
    (tmp_path / "path/python3.pretends").write_text(text.replace("(3, 12, 0)", "(3, 15, 0)"))
    an_interpreter(tmp_path / "usr/python3.11", DEBIAN)
    assert best(tmp_path) == "usr/python3.11"


def test_a_command_that_is_no_interpreter_is_passed_over(tmp_path):
    (tmp_path / "path").mkdir()
    shim = tmp_path / "path/python3.13"  # pyenv has one for each version, also where that version may not be used
    shim.write_text("#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert best(tmp_path) == "python3"


@pytest.mark.parametrize("given", [{"PYTHON": "/opt/mine"}, {}])
def test_make_takes_it_unless_it_is_told_another(tmp_path, given):
    an_interpreter(tmp_path / "path/python3", OPTIMISED)
    told = [f"{name}={value}" for name, value in given.items()]
    said = subprocess.run(
        ["make", "--no-print-directory", "--eval", "say: ; @echo '$(PYTHON)'", "say", *told],
        cwd=ROOT, env={"PATH": f"{tmp_path / 'path'}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == given.get("PYTHON", str(tmp_path / "path/python3"))
