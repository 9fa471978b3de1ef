"""DiskRoom and the spool's reserve: a pause before loss, and room for what is under way."""

import dataclasses
import threading

import pytest
from trial_builder import episode_of, meta_of, truth_of

from meld_core.sections.storage import StorageConfig
from meld_core.storage import spool as spool_module
from meld_core.storage.disk_room import DiskRoom
from meld_core.storage.files import StorageError, write_atomic
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import Spool
from meld_core.train import train_in_process

from .learning import tiny_config


def test_says_what_is_missing(tmp_path):
    assert DiskRoom(tmp_path, StorageConfig(min_free=1.0)).shortage() == ""
    sentence = DiskRoom(tmp_path, StorageConfig(min_free=1e12)).shortage()
    assert "1e+12 MB are needed (storage.min_free); paused until there is room" in sentence


def test_the_reserve_is_made_once_and_given_once(tmp_path):
    room = DiskRoom(tmp_path, StorageConfig(min_free=1.0, reserve=2.0))
    assert room.shortage() == ""
    assert (tmp_path / ".reserve").stat().st_size == 2_000_000
    assert room.release()
    assert not (tmp_path / ".reserve").exists()
    assert not room.release()


def full(monkeypatch, room):
    """Writing is refused as long as the reserve takes its place."""

    def refuse(path, data):
        if (room._folder / ".reserve").exists():
            raise StorageError("no space")
        write_atomic(path, data)

    monkeypatch.setattr(spool_module, "write_atomic", refuse)


def test_an_episode_under_way_goes_into_the_reserve(tmp_path, monkeypatch):
    room = DiskRoom(tmp_path, StorageConfig(min_free=1.0, reserve=1.0))
    actor = Spool(tmp_path, room)
    assert room.shortage() == ""
    full(monkeypatch, room)
    rows = episode_of(0, 2, last=False)
    actor.add_episode(meta_of(), 0, rows, truth_of(rows))
    assert len(list(tmp_path.glob("open/*/000.safetensors"))) == 1
    assert not (tmp_path / ".reserve").exists()


def test_without_a_reserve_the_same_call_works_once_there_is_room(tmp_path, monkeypatch):
    """The ledger refuses after the episode was written: the second call only lists it."""
    actor = Spool(tmp_path)
    rows = episode_of(0, 2, last=False)
    with monkeypatch.context() as patch:
        patch.setattr(
            "meld_core.storage.ledger._write_whole", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
        )
        with pytest.raises(StorageError, match="ledger.jsonl: No space left"):
            actor.add_episode(meta_of(), 0, rows, truth_of(rows))
    actor.add_episode(meta_of(), 0, rows, truth_of(rows))
    assert (tmp_path / "ledger.jsonl").read_text().count('"episode"') == 2  # event and field of one line
    assert len(list(tmp_path.glob("open/*/*"))) == 1


class _StopWhileWaiting(threading.Event):
    """Somebody asks to stop as soon as the run waits."""

    def wait(self, timeout=None):
        self.set()
        return True


def test_a_run_waits_for_room_and_stops_when_asked_to(tmp_path):
    config = tiny_config("learner.threads=1")
    config = dataclasses.replace(config, storage=StorageConfig(min_free=1e12))
    folder, stop = RunFolder(tmp_path / "x").create(config), _StopWhileWaiting()
    assert not train_in_process(config, folder, stop)
    assert list(folder.replay.iterdir()) == []
    assert "the disk is nearly full" in folder.metrics.read_text()
