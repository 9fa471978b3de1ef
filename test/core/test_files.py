"""Atomic writing: the old file or the new one, never half of one, never a lost folder entry."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meld_core.storage.files import StorageError, locked, make_folder, remove_temporary, set_aside, write_atomic

SRC = Path(__file__).parents[2] / "src"


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_data_is_durable_before_its_name_and_its_name_before_the_return(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(Path(os.readlink(f"/proc/self/fd/{fd}"))), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (calls.append("rename"), replace(path, to))[1])
    write_atomic(tmp_path / "a.bin", b"new")
    assert [calls[0].suffix, *calls[1:]] == [".tmp", "rename", tmp_path]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=f"cannot write {path}: No space left on device; make room"):
        write_atomic(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*: No such file or directory"):
        write_atomic(tmp_path / "none" / "a.bin", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot create the folder .*file"):
        make_folder(tmp_path / "file" / "below")


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".a.bin.123.tmp").write_bytes(b"half")
    (tmp_path / "a.bin").write_bytes(b"whole")
    (tmp_path / ".other").write_bytes(b"")
    assert remove_temporary(tmp_path) == [tmp_path / ".a.bin.123.tmp"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other", "a.bin"]


def test_what_is_set_aside_is_kept_even_if_the_name_repeats(tmp_path):
    for content in (b"one", b"two"):
        (tmp_path / "a.bin").write_bytes(content)
        set_aside(tmp_path / "a.bin", f"bad {content.decode()}", tmp_path / "quarantine")
    assert not (tmp_path / "a.bin").exists()
    assert {p.name: p.read_bytes() for p in (tmp_path / "quarantine").iterdir()} == {
        "a.bin": b"one",
        "a.bin.reason.txt": b"bad one\n",
        "a.bin.1": b"two",
        "a.bin.1.reason.txt": b"bad two\n",
    }


_HOLDER = """
import sys
from pathlib import Path
from meld_core.storage.files import locked
with locked(Path(sys.argv[1]), "taken"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_exclusive_between_processes_and_freed_by_kill(tmp_path):
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", _HOLDER, str(lock)]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(StorageError, match=rf"the run is taken \(process {holder.pid}\)"),
            locked(lock, "the run is taken"),
        ):
            pass
        holder.kill()
        holder.wait(timeout=20)
        with locked(lock, "taken"):
            assert lock.read_text() == f"{os.getpid()}\n"


def test_a_lock_can_be_taken_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "lock", "taken"):
        raise KeyError
    with locked(tmp_path / "lock", "taken"):
        pass
