"""The committed bytecode is what the source says."""

import importlib.util
import json
import pathlib
import shutil

import pytest

from fairlead.dataplane.connect_time import layout, load

SCRIPT = pathlib.Path(__file__).parents[3] / "scripts" / "build_connect_time.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("build_connect_time", SCRIPT)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_bytecode_is_what_clang_makes_of_the_source(script):
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    committed = load.PROGRAMS.read_text()
    if script.version() != json.loads(committed)["clang"]:
        pytest.skip(f"clang {script.version()} is here, the bytecode is of clang {json.loads(committed)['clang']}")
    assert script.build() == committed


def test_every_map_that_the_programs_name_is_made():
    programs = json.loads(load.PROGRAMS.read_text())["programs"]
    assert {name for program in programs.values() for name in program["maps"].values()} == layout.MAPS.keys()


def test_a_maps_descriptor_is_put_where_its_load_is():
    program = {"code": ["1801000000000000", "0000000000000000", "9500000000000000"], "maps": {"0": "services"}}
    code = load.instructions(program, {"services": 7})
    assert code.hex() == "1811000007000000" + "0000000000000000" + "9500000000000000"


def test_an_instruction_that_loads_no_map_is_refused():
    with pytest.raises(load.Refused, match="instruction 0 loads no map"):
        load.instructions({"code": ["9500000000000000"], "maps": {"0": "services"}}, {"services": 7})
