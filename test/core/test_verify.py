"""`meld data verify`: counts by hand, every fault named, nothing changed."""

import pytest
from trial_builder import episode_of, episodes_of, meta_of, trial_of, truth_of

from meld_core.config import Config
from meld_core.replay import Replay, TrialError, encode_trial
from meld_core.run_folder import RunFolder
from meld_core.spool import Spool
from meld_core.verify import verify


def snapshot(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def spooled(folder, *counters):
    actor = Spool(folder)
    for counter in counters:
        for k, rows in enumerate(episodes_of((3, 2))):
            actor.add_episode(meta_of(counter), k, rows, truth_of(rows))
        actor.close_trial(meta_of(counter))
    return actor


def test_a_sound_run(tmp_path):
    run = RunFolder(tmp_path / "demo").create(Config())
    learner, actor = Replay(run.replay), spooled(run.spool, 2, 3)
    learner.ingest(encode_trial(trial_of(1, (4, 4))))
    learner.ingest(actor.read(actor.pending()[0]))  # its acknowledgement is still under way
    rows = episode_of(0, 2, last=False)
    actor.add_episode(meta_of(4), 0, rows, truth_of(rows))
    report = verify(run.path)
    assert report.sound
    assert (report.files, report.trials, report.steps) == (2 + 2 + 1, 3, 8 + 5 + 5)
    assert (report.waiting, report.open_episodes, report.aborted, report.quarantined) == (1, 1, 0, 0)
    assert (report.gaps, report.duplicates, report.problems) == ([], [], [])


def test_gaps_and_aborted_trials_are_listed(tmp_path):
    learner = Replay(tmp_path)
    for trial in (trial_of(2), trial_of(3, aborted="lost"), trial_of(6)):
        learner.ingest(encode_trial(trial))
    report = verify(tmp_path)
    assert (report.gaps, report.aborted, report.trials, report.sound) == ([4, 5], 1, 3, True)


def test_twice_is_a_fault_unless_the_first_was_aborted(tmp_path):
    learner = Replay(tmp_path)
    for trial in (trial_of(2), trial_of(2, boot="e" * 32, aborted="lost"), trial_of(3), trial_of(3, boot="f" * 32)):
        learner.ingest(encode_trial(trial))
    report = verify(tmp_path)
    assert report.duplicates == ["run demo has 2 complete trials of counter 3"]
    assert not report.sound


def test_a_copy_under_another_name_is_named(tmp_path):
    (tmp_path / "arm-demo-000007-01234567.safetensors").write_bytes(encode_trial(trial_of()))
    (tmp_path / "copy.safetensors").write_bytes(encode_trial(trial_of()))
    report = verify(tmp_path)
    assert report.duplicates == ["trial arm-demo-000007-01234567 is stored twice"]
    assert [p.split(": ")[1] for p in report.problems] == [
        "it holds trial arm-demo-000007-01234567, which its name does not say"
    ]
    assert (report.trials, report.steps) == (1, 5)


def test_every_bad_file_is_named_and_none_is_touched(tmp_path):
    run = RunFolder(tmp_path / "demo").create(Config())
    actor = spooled(run.spool, 1)
    rows = episode_of(0, 2, last=False)
    actor.add_episode(meta_of(2), 0, rows, truth_of(rows))
    files = [
        next((run.spool / "pending").iterdir()),
        next((run.spool / "open").rglob("*.safetensors")),
        run.replay / "arm-demo-000009-01234567.safetensors",
        run.weights / "00000001.safetensors",
    ]
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:-1])
    files[2].write_bytes(encode_trial(trial_of(9, split="held_out")))
    files[3].write_bytes(b"no weights")
    before = snapshot(tmp_path)
    report = verify(run.path)
    assert sorted(p.split(": ")[0] for p in report.problems) == sorted(str(f) for f in files)
    assert not report.sound
    assert snapshot(tmp_path) == before


def test_what_was_quarantined_earlier_is_counted(tmp_path):
    actor = spooled(tmp_path, 1, 2)
    actor.refuse(actor.pending()[0], "no")
    assert (verify(tmp_path).quarantined, verify(tmp_path).trials, verify(tmp_path).waiting) == (1, 1, 1)


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(TrialError, match=r"there is no folder .*none to verify"):
        verify(tmp_path / "none")


def test_an_empty_folder_is_sound(tmp_path):
    assert verify(tmp_path).sound
    assert verify(tmp_path).trials == 0
