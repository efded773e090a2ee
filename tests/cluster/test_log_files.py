"""The logs of a cluster that runs for months stay small, and whoever writes them goes on."""

from pathlib import Path

from fairlead.cluster import log_files


def test_a_log_that_is_too_large_is_begun_anew(tmp_path: Path) -> None:
    log, other = tmp_path / "fairlead.log", tmp_path / "audit.log"
    other.write_bytes(b"x" * 2000)
    with log.open("ab", buffering=0) as writing:
        writing.write(b"old\n" * 300)
        log_files.shorten(tmp_path, most_bytes=1000)
        writing.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "fairlead.log.1").read_bytes() == b"old\n" * 300
    assert (tmp_path / "fairlead.log.1").stat().st_mode & 0o777 == 0o600
    assert other.stat().st_size == 2000


def test_one_that_is_small_is_left_and_one_that_is_missing_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "engine.log").write_bytes(b"x" * 1000)
    log_files.shorten(tmp_path, most_bytes=1000)
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine.log"]


def test_without_room_for_a_copy_the_log_is_begun_anew_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "engine.log").write_bytes(b"x" * 1001)
    (tmp_path / "engine.log.1").symlink_to("/dev/full")
    log_files.shorten(tmp_path, most_bytes=1000)
    assert [(entry.name, entry.stat().st_size) for entry in tmp_path.iterdir()] == [("engine.log", 0)]
