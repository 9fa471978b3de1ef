"""The spool: the way of a trial from its episodes to the learner, what is refused, and parts that are damaged."""

import dataclasses
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_builder import episode_of, episodes_of, meta_of, trial_of, truth_of

from meld_core.replay import decode_trial, encode_trial
from meld_core.storage.spool import Part, Spool, decode_part, encode_part
from meld_core.storage.tensor_file import pack
from meld_core.storage.trial_file import TrialError

from .spool_files import ID, fill, names


def test_the_way_of_a_trial(tmp_path):
    actor, meta = Spool(tmp_path), meta_of()
    rows = episodes_of((3, 2))
    actor.add_episode(meta, 0, rows[0], truth_of(rows[0]))
    assert names(tmp_path) == [f"open/{ID}/000.safetensors"]
    assert actor.pending() == []
    actor.add_episode(meta, 1, rows[1], truth_of(rows[1]))
    trial = actor.close_trial(meta)
    assert len(trial) == 7
    assert names(tmp_path) == [f"pending/{ID}.safetensors"]
    assert actor.pending() == [ID]
    assert actor.read(ID) == encode_trial(trial) == encode_trial(trial_of())
    assert actor.acknowledge(ID)
    assert not actor.acknowledge(ID)
    assert names(tmp_path) == []
    assert actor.pending() == []


def test_an_aborted_trial_keeps_its_closed_episodes(tmp_path):
    actor, meta = Spool(tmp_path), meta_of()
    actor.add_episode(meta, 0, *with_truth(episode_of(0, 3, last=False)))
    trial = actor.close_trial(dataclasses.replace(meta, aborted="camera lost"))
    assert trial.meta.aborted == "camera lost"
    assert len(trial) == 4
    assert not trial.rows["terminal"].any()
    assert not trial.rows["truncated"].any()
    assert decode_trial(actor.read(ID)).meta.aborted == "camera lost"


def with_truth(rows):
    return rows, truth_of(rows)


def test_a_trial_without_a_closed_episode_leaves_nothing(tmp_path):
    assert Spool(tmp_path).close_trial(meta_of(aborted="at once")) is None
    assert names(tmp_path) == []


def test_episodes_come_in_order(tmp_path):
    actor = Spool(tmp_path)
    rows = episode_of(1, 2, last=True)
    with pytest.raises(TrialError, match=f"episode 1 of trial {ID} came where 0 was expected"):
        actor.add_episode(meta_of(), 1, rows, truth_of(rows))


def test_a_closed_trial_is_not_overwritten_by_a_repetition_of_the_same_id(tmp_path):
    actor, meta = Spool(tmp_path), meta_of()
    fill(actor, meta, (3, 2))
    actor.close_trial(meta)
    with pytest.raises(TrialError, match=f"trial {ID} is closed already; a repetition needs a counter or boot id"):
        fill(actor, meta, (1,))
    assert actor.read(ID) == encode_trial(trial_of())


def test_wrong_rows_are_refused_and_named(tmp_path):
    rows = episode_of(0, 2, last=False)
    del rows["stamp"]
    with pytest.raises(TrialError, match=rf"episode 0 of trial {ID}: trial lacks the rows \['stamp'\]"):
        Spool(tmp_path).add_episode(meta_of(), 0, rows, {})


def test_pending_is_oldest_first(tmp_path):
    actor = Spool(tmp_path)
    for counter, boot in ((11, "b" * 32), (9, "c" * 32), (10, "f" * 32), (10, "a" * 32)):
        meta = meta_of(counter, boot=boot)
        fill(actor, meta, (1,))
        path = tmp_path / "pending" / f"{actor.close_trial(meta).meta.id}.safetensors"
        os.utime(path, ns=(0, 5 if boot[0] == "a" else 3))
    assert [name[9:] for name in actor.pending()] == [
        "000009-cccccccc",
        "000010-ffffffff",
        "000010-aaaaaaaa",
        "000011-bbbbbbbb",
    ]


@pytest.mark.parametrize("bad", ["../x", "", "a/b", "/etc/passwd", "a\0b", "."])
def test_an_id_from_outside_reaches_no_other_file(tmp_path, bad):
    (tmp_path / "x.safetensors").write_bytes(b"keep")
    actor = Spool(tmp_path / "spool")
    for call in (actor.read, actor.acknowledge):
        with pytest.raises(TrialError, match="is not a trial id"):
            call(bad)
    assert (tmp_path / "x.safetensors").exists()


def test_an_unknown_id_is_said(tmp_path):
    with pytest.raises(TrialError, match="no trial 'other' waits in"):
        Spool(tmp_path).read("other")


def test_a_refused_trial_is_kept_aside(tmp_path):
    actor, meta = Spool(tmp_path), meta_of()
    fill(actor, meta, (1,))
    actor.close_trial(meta)
    assert actor.refuse(ID, "of the split 'held_out'")
    assert not actor.refuse(ID, "again")
    assert actor.pending() == []
    assert (tmp_path / "quarantine" / f"{ID}.safetensors.reason.txt").read_text() == "of the split 'held_out'\n"


PART = encode_part(Part(meta_of(), 1, *with_truth(episode_of(1, 2, last=True))))


def test_every_flipped_byte_and_truncation_of_a_part_is_seen():
    assert decode_part(PART).episode == 1
    for place in range(len(PART)):
        flipped = bytearray(PART)
        flipped[place] ^= 255 - place % 255
        for data in (bytes(flipped), PART[:place]):
            with pytest.raises(TrialError):
                decode_part(data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.binary(max_size=200), text=st.text(max_size=30))
def test_no_bytes_break_the_reader_of_parts(data, text):
    for candidate in (data, pack("episode", text, {})):
        with pytest.raises(TrialError):
            decode_part(candidate)
