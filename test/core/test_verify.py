"""`meld data verify`: counts by hand, every fault named, nothing changed."""

import pytest
from trial_builder import episode_of, episodes_of, meta_of, set_at, trial_of, truth_of

from meld_core.config import Config
from meld_core.replay import Replay, TrialError, encode_trial
from meld_core.storage.files import StorageError
from meld_core.storage.repair import repair
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import Spool
from meld_core.storage.verify import verify


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
    assert (report.gaps, report.duplicates, report.problems) == ([], [], {})
    assert (report.listed, report.lost, report.disorder) == (
        2 * 2 + 1,
        [],
        [
            "trial arm-demo-000002-01234567 begins before trial arm-demo-000001-01234567 has ended",
            "trial arm-demo-000003-01234567 begins before trial arm-demo-000002-01234567 has ended",
        ],
    )


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
    assert list(report.problems.values()) == ["it holds trial arm-demo-000007-01234567, which its name does not say"]
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
    assert sorted(report.problems) == sorted(files)
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


def run_of(tmp_path, *counters):
    """A run whose trials are all in its replay, and its spool."""
    run = RunFolder(tmp_path / "demo").create(Config())
    actor, learner = spooled(run.spool, *counters), Replay(run.replay)
    for trial in actor.pending():
        learner.ingest(actor.read(trial))
        actor.acknowledge(trial)
    return run, actor


def test_the_ledger_misses_a_trial_that_leaves_no_gap(tmp_path):
    """The newest trial is gone: nothing in the folder of trials could tell."""
    run, _ = run_of(tmp_path, 1, 2)
    assert verify(run.path).sound
    (run.replay / "arm-demo-000002-01234567.safetensors").rename(tmp_path / "elsewhere")
    report = verify(run.path)
    assert (report.gaps, report.problems, report.duplicates) == ([], {}, [])
    assert report.lost == [
        f"episode {k} of trial arm-demo-000002-01234567 was stored and is nowhere now" for k in (0, 1)
    ]
    assert not report.sound


def test_the_ledger_sees_other_contents_under_a_known_name(tmp_path):
    run, _ = run_of(tmp_path, 1)
    path = run.replay / "arm-demo-000001-01234567.safetensors"
    path.write_bytes(encode_trial(set_at(trial_of(1), "joints", 1, 0.5)))
    assert verify(run.path).lost == [
        "episode 0 of trial arm-demo-000001-01234567 was stored and holds something else now"
    ]


def test_counts_of_the_ledger_and_a_half_line(tmp_path):
    run, actor = run_of(tmp_path, 1)
    actor.note("dropped", trial="arm-demo-000002-01234567", episode=0, steps=3, reason="a person said so")
    actor.note("doubted", trial="arm-demo-000002-01234567", episode=0, step=1, stamp=10, reason="too high")
    with (run.spool / "ledger.jsonl").open("a") as file:
        file.write('{"event": "episode", "trial": "arm-de')
    report = verify(run.path)
    assert (report.dropped_steps, report.doubted, report.listed, report.sound) == (3, 1, 2, True)
    Spool(run.spool).recover()
    actor.note("dropped", trial="arm-demo-000002-01234567", episode=0, steps=4, reason="again")
    assert verify(run.path).dropped_steps == 7


def test_repair_sets_aside_and_deletes_nothing(tmp_path):
    run, _ = run_of(tmp_path, 1, 2, 3)
    twin = encode_trial(trial_of(2, boot="f" * 32))
    files = {
        run.replay / "arm-demo-000001-01234567.safetensors": b"cut off",
        run.replay / "copy.safetensors": encode_trial(trial_of(3)),
        run.replay / "arm-demo-000002-ffffffff.safetensors": twin,
        run.spool / "pending" / "arm-demo-000009-01234567.safetensors": b"",
        run.spool / "open" / "arm-demo-000008-01234567" / "000.safetensors": b"{}",
        run.weights / "00000001.safetensors": b"no weights",
        run.checkpoints / "00000001.safetensors": b"no checkpoint",
    }
    for path, data in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    contents = sorted(snapshot(run.path).values())
    report, done = repair(run.path)
    assert (len(done), report.quarantined, report.problems, report.duplicates) == (7, 7, {}, [])
    kept = [data for path, data in snapshot(run.path).items() if not path.name.endswith(".reason.txt")]
    assert sorted(kept) == sorted(
        [*contents, *(data for path, data in snapshot(run.path).items() if ".lock" in path.name)]
    )
    assert report.lost == []  # trial 1 was set aside, and that is known
    assert (run.replay / "arm-demo-000002-01234567.safetensors").is_file()
    assert twin in kept
    assert repair(run.path)[1] == []


def test_repair_keeps_away_from_a_run_that_is_in_use(tmp_path):
    run, _ = run_of(tmp_path, 1)
    with run.lock(), pytest.raises(StorageError, match="in use for training"):
        repair(run.path)
    with run.lock(), pytest.raises(StorageError, match="in use for training"):
        repair(run.replay)
