"""The spool: an episode whose closing was confirmed reaches the learner exactly once, whatever crashes when."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trial_builder import episode_of, episodes_of, meta_of, trial_of, truth_of

from meld_core.replay import Replay, decode_trial, encode_trial
from meld_core.storage.files import StorageError, remove_temporary
from meld_core.storage.spool import Spool
from meld_core.storage.trial_file import TrialError

from .spool_files import ID, fill, names


def test_episodes_that_make_no_trial_stay_and_are_quarantined_at_the_next_start(tmp_path):
    actor, meta = Spool(tmp_path), meta_of()
    fill(actor, meta, (3,))
    rows = episode_of(1, 2, last=True, start=0)  # its stamps fall behind those of episode 0
    actor.add_episode(meta, 1, rows, truth_of(rows))
    with pytest.raises(TrialError, match="stamp 10 at row 4 is not later"):
        actor.close_trial(meta)
    assert len(names(tmp_path / "open")) == 2
    said = Spool(tmp_path).recover()
    assert len(said) == 1
    assert said[0].startswith(f"could not rebuild trial {ID}; quarantined what is left of it: trial {ID}: ")
    assert names(tmp_path / "quarantine") == [f"{ID}.reason.txt", f"{ID}/000.safetensors", f"{ID}/001.safetensors"]
    assert Spool(tmp_path).recover() == []


def test_recovery_of_an_inner_episode_is_an_aborted_trial(tmp_path, caplog):
    rows = episode_of(0, 3, last=False)
    Spool(tmp_path).add_episode(meta_of(), 0, rows, truth_of(rows))
    actor = Spool(tmp_path)
    said = actor.recover()
    assert said == [f"recovered trial {ID} as aborted, with 1 closed episodes of 4 rows"]
    assert said[0] in caplog.text
    trial = decode_trial(actor.read(ID))
    assert trial.meta.aborted == "the actor ended before it closed the trial"
    assert actor.recover() == []


def test_recovery_of_a_trial_that_only_lacked_its_closing_is_complete(tmp_path):
    fill(Spool(tmp_path), meta_of(), (3, 2))
    actor = Spool(tmp_path)
    assert actor.recover() == [f"recovered trial {ID} as complete, with 2 closed episodes of 7 rows"]
    assert actor.read(ID) == encode_trial(trial_of())


def test_recovery_keeps_the_episodes_before_a_damaged_one(tmp_path):
    fill(Spool(tmp_path), meta_of(), (3, 2, 1))
    damaged = tmp_path / "open" / ID / "001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    actor = Spool(tmp_path)
    (said,) = actor.recover()
    assert said.startswith(
        f"recovered trial {ID} as aborted, with 1 closed episodes of 4 rows; quarantined what is left"
    )
    assert "001.safetensors: episode data of" in said
    assert len(decode_trial(actor.read(ID))) == 4
    assert f"{ID}/002.safetensors" in names(tmp_path / "quarantine")


def test_recovery_quarantines_a_damaged_pending_trial(tmp_path):
    actor, meta = Spool(tmp_path), meta_of()
    fill(actor, meta, (3, 2))
    actor.close_trial(meta)
    path = tmp_path / "pending" / f"{ID}.safetensors"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    (said,) = Spool(tmp_path).recover()
    assert said.startswith(f"quarantined the pending trial {ID}.safetensors: ")
    assert actor.pending() == []


def test_a_full_disk_loses_nothing_and_the_call_can_be_repeated(tmp_path, monkeypatch):
    actor, meta = Spool(tmp_path), meta_of()
    rows = episodes_of((3, 2))
    actor.add_episode(meta, 0, rows[0], truth_of(rows[0]))

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            actor.add_episode(meta, 1, rows[1], truth_of(rows[1]))
    actor.add_episode(meta, 1, rows[1], truth_of(rows[1]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            actor.close_trial(meta)
    actor.close_trial(meta)
    assert actor.read(ID) == encode_trial(trial_of())
    assert names(tmp_path) == [f"pending/{ID}.safetensors"]


class Crash(BaseException):
    """The process dies here: no handler may run."""


def crash_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Every change of the disk counts; the one of this number does not happen, nor anything after it."""
    left = [number]

    def counted(original):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] <= 0:
                raise Crash
            return original(*args, **kwargs)

        return call

    for owner, name in (
        (os, "fsync"),
        (Path, "replace"),
        (Path, "unlink"),
        (Path, "mkdir"),
        (os, "rmdir"),
        (os, "unlink"),
    ):
        patch.setattr(owner, name, counted(getattr(owner, name)))


def work(folder: Path, replay: Path, confirmed: list[tuple[int, int]]) -> None:
    """Two trials of two episodes travel from actor to learner; `confirmed` grows with every closed episode."""
    actor = Spool(folder)
    actor.recover()
    for counter in (1, 2):
        meta = meta_of(counter)
        for k, rows in enumerate(episodes_of((2, 1))):
            actor.add_episode(meta, k, rows, truth_of(rows))
            confirmed.append((counter, k))
        actor.close_trial(meta)
    deliver(actor, Replay(replay))


def deliver(actor: Spool, learner: Replay) -> None:
    for trial in actor.pending():
        learner.ingest(actor.read(trial))
        actor.acknowledge(trial)


CRASHES = range(1, 65)
"""An undisturbed run changes the disk about 50 times; the range must reach beyond its end."""


def test_every_confirmed_episode_arrives_exactly_once_wherever_the_process_dies(tmp_path):
    died = 0
    for number in CRASHES:
        folder, confirmed = tmp_path / str(number), []
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number)
            try:
                work(folder / "spool", folder / "replay", confirmed)
            except Crash:
                died += 1
        actor, learner = Spool(folder / "spool"), Replay(folder / "replay")
        actor.recover()
        deliver(actor, learner)
        check_arrived(learner, confirmed, number)
        assert learner.problems == []
        assert names(folder / "spool") == [], f"crash at {number}"
        assert not [name for name in names(folder / "replay") if name.endswith(".tmp")]
        shutil.rmtree(folder)
    assert 40 < died < len(CRASHES)


def check_arrived(learner: Replay, confirmed: list[tuple[int, int]], number: int) -> None:
    got = [(t.meta.id.counter, int(e)) for t in learner.trials for e in np.unique(t.rows["episode"])]
    assert len(got) == len(set(got)), f"crash at {number}: {got} holds an episode twice"
    assert set(confirmed) <= set(got), f"crash at {number}: {confirmed} were confirmed, {got} arrived"
    assert len(set(got) - set(confirmed)) <= 1, f"crash at {number}: only the episode being written may be extra"


def test_a_crash_during_recovery_loses_nothing(tmp_path):
    for number in range(1, 16):
        folder = tmp_path / str(number)
        fill(Spool(folder), meta_of(1), (2, 1))
        rows = episode_of(0, 2, last=False)
        Spool(folder).add_episode(meta_of(2), 0, rows, truth_of(rows))
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number)
            with contextlib.suppress(Crash):
                Spool(folder).recover()
        actor = Spool(folder)
        actor.recover()
        assert [len(decode_trial(actor.read(trial))) for trial in actor.pending()] == [5, 3]
        assert names(folder / "open") == []


_ACTOR = """
import sys
from pathlib import Path
from meld_core.storage.spool import Spool
from trial_builder import *
spool = Spool(Path(sys.argv[1]))
rows = episodes_of((3, 2))
spool.add_episode(meta_of(), 0, rows[0], truth_of(rows[0]))
print("stored", flush=True)
sys.stdin.read()
"""


def test_kill_9_between_two_episodes(tmp_path):
    """Fault 17: the actor dies in the middle of a trial; its closed episode is neither lost nor doubled."""
    paths = os.pathsep.join([str(Path(__file__).parents[2] / "src"), str(Path(__file__).parent)])
    command = [sys.executable, "-c", _ACTOR, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    ) as actor:
        assert actor.stdout.readline() == b"stored\n"
        actor.send_signal(signal.SIGKILL)
        assert actor.wait(timeout=20) == -signal.SIGKILL
    left = Spool(tmp_path)
    left.recover()
    assert left.pending() == [ID]
    assert len(decode_trial(left.read(ID))) == 4


def test_one_temporary_of_a_crash_is_cleaned(tmp_path):
    actor = Spool(tmp_path)
    (tmp_path / "pending" / ".x.safetensors.1.tmp").write_bytes(b"half")
    (tmp_path / "open" / ID).mkdir()
    (tmp_path / "open" / ID / ".000.safetensors.1.tmp").write_bytes(b"half")
    assert actor.recover() == [f"trial {ID} had no closed episode"]
    assert names(tmp_path) == []
    assert remove_temporary(tmp_path / "pending") == []
