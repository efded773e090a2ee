"""A folder of files changes all at once, or not at all."""

import os
import resource
import signal
from pathlib import Path

import pytest

from fairlead.node import atomic_files


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.is_symlink())


def test_a_disk_without_room_leaves_the_old_files_and_nothing_half_made(tmp_path: Path) -> None:
    atomic_files.write(tmp_path, {"a": atomic_files.FileContent(b"old")})
    (old,) = names(tmp_path)
    child = os.fork()
    if not child:  # a process that may write no large file stands for a disk without room
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            atomic_files.write(tmp_path, {"a": atomic_files.FileContent(b"x" * 2000)})
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert names(tmp_path) == [old]
    assert (tmp_path / "a").read_bytes() == b"old"
    assert atomic_files.write(tmp_path, {"a": atomic_files.FileContent(b"new")})
    assert (tmp_path / "a").read_bytes() == b"new"
    assert len(names(tmp_path)) == 1


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(atomic_files.BadPath, match="must not leave"):
        atomic_files.write(tmp_path, {"../x": atomic_files.FileContent(b"")})
