import os
import subprocess
import sys
from pathlib import Path

import pytest

from lpa_core._utils.files import LOCK_NAME, atomic, locked, remove_leftovers, write_atomic


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    with pytest.raises(TypeError), atomic(path) as file:
        file.write(b"half of the n" + "ew")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_new_file_is_synced_before_it_takes_the_place_of_the_old(tmp_path, monkeypatch):
    path, events = tmp_path / "a.txt", []
    write_atomic(path, "old")
    fsync, replace = os.fsync, os.replace

    def watched_fsync(handle):
        events.append(("sync", path.read_text()))
        fsync(handle)

    def watched_replace(source, target):
        events.append(("rename", Path(source).read_text()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_atomic(path, "näw")
    assert events[:2] == [("sync", "old"), ("rename", "näw")]
    assert path.read_text(encoding="utf-8") == "näw"


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    script = (
        "import os, sys\nfrom lpa_core._utils.files import atomic\n"
        "with atomic(sys.argv[1]) as f:\n    f.write(b'half'); f.flush(); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "a.txt"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    (tmp_path / "notes.tmp").write_text("mine")
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "notes.tmp"]


HOLD = """
import sys, time
from lpa_core._utils.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_process_and_free_again_after_kill(tmp_path):
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=r"another process is using .*run"), locked(folder):
            pass
        assert (folder / LOCK_NAME).exists()
    finally:
        holder.kill()
        holder.communicate()
    with locked(folder) as held:
        assert held == folder
        with pytest.raises(BlockingIOError), locked(folder):
            pass
    assert not (folder / LOCK_NAME).exists()


def test_a_new_folder_in_which_nothing_was_written_goes_again(tmp_path):
    with locked(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with locked(tmp_path / "old"):
        pass
    assert (tmp_path / "old").exists()
    with locked(tmp_path / "kept") as folder:
        (folder / "result").touch()
    assert os.listdir(tmp_path / "kept") == ["result"]
    with locked(tmp_path / "many" / "one"):
        pass
    assert not (tmp_path / "many").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write in .*file"), locked(tmp_path / "file" / "run"):
        pass


def test_a_lock_whose_file_was_deleted_by_its_holder_is_taken_anew(tmp_path):
    """A file that a killed process left is no lock, and of the one that a holder deletes nothing remains."""
    (tmp_path / LOCK_NAME).touch()
    for _ in range(3):
        with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
            pass
        assert os.listdir(tmp_path) == []
