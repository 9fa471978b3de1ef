"""The replay: idempotent, durable, suspicious."""

import dataclasses

import numpy as np
import pytest
from trial_builder import meta_of, set_at, trial_of

from meld_core.replay import Replay, TrialError, decode_trial, encode_trial, steps_of
from meld_core.storage.files import StorageError


def test_a_trial_is_stored_as_the_bytes_that_came(tmp_path):
    learner, data = Replay(tmp_path), encode_trial(trial_of())
    trial = learner.ingest(data)
    assert trial.meta == meta_of()
    assert [p.name for p in tmp_path.iterdir()] == ["arm-demo-000007-01234567.safetensors"]
    assert next(tmp_path.iterdir()).read_bytes() == data
    assert trial.meta.id in learner


def test_ingest_is_idempotent(tmp_path):
    learner, data = Replay(tmp_path), encode_trial(trial_of())
    assert learner.ingest(data) is not None
    assert learner.ingest(data) is None
    assert (len(learner), learner.steps) == (1, 5)
    assert (learner.ingested, learner.duplicates, learner.refused) == (1, 1, 0)
    again = Replay(tmp_path)
    assert again.ingest(data) is None
    assert (len(again), again.steps, again.ingested, again.duplicates) == (1, 5, 0, 1)


def test_a_trial_is_durable_before_ingest_returns(tmp_path, monkeypatch):
    learner = Replay(tmp_path)

    def full(*_):
        raise StorageError("cannot write: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("meld_core.replay.write_atomic", full)
        with pytest.raises(StorageError):
            learner.ingest(encode_trial(trial_of()))
    assert (len(learner), learner.ingested, learner.duplicates) == (0, 0, 0)
    assert learner.ingest(encode_trial(trial_of())) is not None


def test_opening_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("meld_core.replay._TELL_EVERY", 2)
    replay, told = Replay(tmp_path), []
    for n in range(5):
        replay.ingest(encode_trial(trial_of(n)))
    Replay(tmp_path, lambda current, total: told.append((current, total)))
    assert told == [(2, 5), (4, 5)]


def test_steps_are_actions_and_not_rows():
    """Episodes of 3 and 2 steps have 4 + 3 rows."""
    assert len(trial_of(steps=(3, 2))) == 7
    assert steps_of(trial_of(steps=(3, 2))) == 5


def test_trials_are_in_order_of_their_counter_and_aborted_ones_before_their_repetition(tmp_path):
    learner = Replay(tmp_path)
    aborted = trial_of(2, boot="f" * 32, aborted="camera lost")
    for trial in (trial_of(3, (1,)), trial_of(1, (1, 1)), trial_of(2, (1, 1, 1)), aborted):
        learner.ingest(encode_trial(trial))
    expected = [(1, 2), (2, 5), (2, 3), (3, 1)]
    assert [(t.meta.id.counter, steps_of(t)) for t in learner.trials] == expected
    opened = Replay(tmp_path)
    assert [(t.meta.id.counter, steps_of(t)) for t in opened.trials] == expected
    assert opened.steps == learner.steps == 11
    assert all(
        np.array_equal(a.rows["image"], b.rows["image"]) for a, b in zip(opened.trials, learner.trials, strict=True)
    )


@pytest.mark.parametrize("split", ["held_out", "validation", "trains", ""])
def test_only_training_tasks_are_learned_from(tmp_path, split):
    learner = Replay(tmp_path)
    with pytest.raises(TrialError, match=f"is of the split '{split}'; only 'train' may be learned from"):
        learner.ingest(encode_trial(trial_of(split=split)))
    assert (len(learner), learner.refused, list(tmp_path.iterdir())) == (0, 1, [])


def test_bad_bytes_are_refused_and_counted(tmp_path):
    learner, data = Replay(tmp_path), encode_trial(trial_of())
    for bad in (b"", data[:-1], b"x" + data[1:]):
        with pytest.raises(TrialError):
            learner.ingest(bad)
    assert (len(learner), learner.refused, list(tmp_path.iterdir())) == (0, 3, [])


def test_two_trials_whose_short_names_collide_are_not_mixed_up(tmp_path):
    """File names hold only the first 8 digits of the boot id."""
    learner = Replay(tmp_path)
    learner.ingest(encode_trial(trial_of()))
    with pytest.raises(TrialError, match=r"another trial is stored as arm-demo-000007-01234567\.safetensors"):
        learner.ingest(encode_trial(trial_of(boot="01234567" + "f" * 24)))


def test_another_trial_under_a_known_id_is_no_duplicate(tmp_path):
    """Taken for a duplicate it would be acknowledged, removed from the spool, and lost."""
    learner = Replay(tmp_path)
    learner.ingest(encode_trial(trial_of(aborted="camera lost")))
    with pytest.raises(TrialError, match=r"another trial is stored as .*; each trial needs an id of its own"):
        learner.ingest(encode_trial(trial_of()))
    assert (learner.duplicates, learner.refused, len(learner)) == (0, 1, 1)


def test_opening_sets_bad_files_aside_and_keeps_the_rest(tmp_path):
    learner = Replay(tmp_path)
    for counter in (1, 2, 3, 4):
        learner.ingest(encode_trial(trial_of(counter)))
    first, second, third, _ = sorted(tmp_path.glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(third.read_bytes())
    third.write_bytes(encode_trial(trial_of(3, split="held_out")))
    (tmp_path / ".x.safetensors.1.tmp").write_bytes(b"half")
    opened = Replay(tmp_path)
    assert [t.meta.id.counter for t in opened.trials] == [4]
    assert opened.steps == 5
    assert [p.split(": ")[0] for p in opened.problems] == [f"quarantined {p.name}" for p in (first, second, third)]
    assert "damaged or cut off" in opened.problems[0]
    assert "it holds trial arm-demo-000003-01234567, which its name does not say" in opened.problems[1]
    assert "split 'held_out'" in opened.problems[2]
    quarantine = {p.name for p in (tmp_path / "quarantine").iterdir()}
    assert quarantine == {n for p in (first, second, third) for n in (p.name, f"{p.name}.reason.txt")}
    assert Replay(tmp_path).problems == []


def test_what_was_quarantined_can_be_sent_again(tmp_path):
    data = encode_trial(trial_of())
    Replay(tmp_path).ingest(data)
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(data[:100])
    learner = Replay(tmp_path)
    assert len(learner) == 0
    assert learner.ingest(data) is not None
    assert path.read_bytes() == data


def test_a_trial_does_not_change_with_the_buffer_it_came_in(tmp_path):
    buffer = bytearray(encode_trial(trial_of()))
    trial = Replay(tmp_path).ingest(buffer)
    buffer[-8:] = bytes(8)
    assert np.array_equal(trial.rows["truncated"], trial_of().rows["truncated"])
    assert encode_trial(trial) == encode_trial(trial_of())


def test_rows_of_a_stored_trial_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        decode_trial(encode_trial(trial_of())).rows["reward"][0] = 1.0


def test_source_and_abort_are_kept(tmp_path):
    trial = set_at(dataclasses.replace(trial_of(), meta=meta_of(aborted="stop")), "source", 2, 2)
    assert Replay(tmp_path).ingest(encode_trial(trial)).rows["source"].tolist() == [0, 0, 2, 0, 0, 0, 0]
    assert Replay(tmp_path).trials[0].meta.aborted == "stop"


def test_pictures_stay_on_disk_and_are_the_same_when_asked_for(tmp_path):
    trial = trial_of(3)
    replay = Replay(tmp_path / "replay")
    replay.ingest(encode_trial(trial))
    for stored in (replay.trials[0], Replay(tmp_path / "replay").trials[0]):
        assert set(stored.rows) == set(trial.rows)
        assert len(stored.rows) == len(trial.rows)
        assert encode_trial(stored) == encode_trial(trial)
        assert stored.rows["image"] is not stored.rows["image"]  # read anew each time
        assert not stored.rows["image"].flags.writeable
        for array in (*(stored.rows[name] for name in stored.rows if name != "image"), *stored.truth.values()):
            assert array.flags.aligned
            assert not array.flags.writeable
        assert np.shares_memory(stored.rows["stamp"], stored.rows["stamp"])  # kept, not read again
