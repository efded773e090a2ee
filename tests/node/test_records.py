"""A pod's record on the disk is the old one or the new one, whatever their sizes."""

import pytest

from fairlead.node import records


@pytest.mark.parametrize("sizes", [(1, 1), (1, 40), (40, 1), (1, 400), (400, 1), (400, 400)], ids=str)
def test_the_newest_record_is_read_back(tmp_path, sizes):
    for size in sizes:
        record = records.PodRecord("uid", failure_message="x" * size, name=f"pod-{size}")
        for number in range(size // 40):
            record.container(f"container-{number}").restarts = number
        records.save(tmp_path, record)
        assert records.load(tmp_path) == record
    assert [entry.name for entry in tmp_path.iterdir()] == ["agent.json"]


def test_a_small_change_makes_no_new_file(tmp_path):
    record = records.PodRecord("uid", ip="10.244.0.7")
    records.save(tmp_path, record)
    before = (tmp_path / "agent.json").stat().st_ino
    record.network_ready = True
    records.save(tmp_path, record)
    record.ip = ""
    records.save(tmp_path, record)
    assert (tmp_path / "agent.json").stat().st_ino == before
    assert records.load(tmp_path) == record


def test_a_folder_that_is_gone_hurts_nobody(tmp_path):
    records.save(tmp_path / "gone", records.PodRecord("uid"))
    assert records.load(tmp_path / "gone") is None
