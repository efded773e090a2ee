"""What is generated for pods is kept in memory, and no mount is left of it."""

import os
import tempfile
from pathlib import Path

import pytest

from fairlead.node import folders, volumes

CONFIG_MAP = {"name": "config", "configMap": {"name": "settings"}}
SCRATCH = {"name": "scratch", "emptyDir": {}}


@pytest.fixture
def pods():
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
        folders.close_memory(Path(made))


@pytest.fixture
def memory(pods):
    if not folders.can_mount() or not folders.open_memory(pods):
        pytest.skip("mounting needs CAP_SYS_ADMIN")
    return pods / ".memory"


def test_without_a_file_system_in_memory_everything_is_in_the_pods_folder(pods):
    assert folders.small(pods / "uid") == pods / "uid"
    folders.close_memory(pods)


def test_it_is_found_by_the_next_life_and_is_no_pod(pods, memory):
    (folders.small(pods / "uid") / "etc").mkdir(parents=True)
    (pods / "uid").mkdir()
    assert folders.open_memory(pods)
    assert (memory / "uid" / "etc").is_dir()
    assert memory.stat().st_mode & 0o777 == 0o700
    assert folders.names(pods) == ["uid"]


def test_a_pods_part_goes_with_its_folder_and_all_of_it_at_the_end(pods, memory):
    for name in ("one", "two"):
        (pods / name).mkdir()
        folders.small(pods / name).mkdir()
    folders.remove(pods / "one")
    assert os.listdir(memory) == ["two"]
    folders.close_memory(pods)
    assert folders.names(pods) == ["two"]
    assert not memory.exists()


def test_generated_volumes_are_in_memory_and_scratch_space_on_the_disk(pods, memory):
    folder = pods / "uid"
    made = volumes.PodVolumes(folder, small=folders.small(folder))
    assert made.folder_of(CONFIG_MAP) == memory / "uid" / "volumes" / "config"
    assert made.folder_of(SCRATCH) == folder / "volumes" / "scratch"


def test_a_volume_that_an_earlier_life_made_on_the_disk_stays_there(pods, memory):
    folder = pods / "uid"
    (folder / "volumes" / "config").mkdir(parents=True)
    made = volumes.PodVolumes(folder, small=folders.small(folder))
    assert made.folder_of(CONFIG_MAP) == folder / "volumes" / "config"
