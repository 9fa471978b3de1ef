"""Recorded messages become the trials that were stored live: in order or not, or they are refused with a reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep_ring import SMALL, running

from meld_core.exchange.importer import Importer, ImportReport
from meld_core.exchange.recorded import Heard, RecordedTrial, Recording
from meld_core.storage.trial_file import decode_trial, encode_trial
from meld_core.types import Reward

from .tapped_ring import Tapped, rebuilt

SLOW = settings(max_examples=30, deadline=None)


@pytest.fixture(scope="module")
def live() -> Tapped:
    """Two scripted trials of two episodes of four steps."""
    ring = Tapped()
    ring.run()
    return ring


def test_every_trial_comes_back_byte_for_byte(live: Tapped) -> None:
    assert len(live.files()) == 2
    assert rebuilt(live.heard) == (live.files(), [])


def test_what_was_said_again_is_taken_once() -> None:
    ring = Tapped(lose=lambda kind, number: number == 3)
    ring.run()
    assert ring.lost.total() > 5
    assert rebuilt(ring.heard) == (ring.files(), [])


def test_an_aborted_trial_keeps_its_closed_episode_and_its_reason() -> None:
    ring = Tapped()
    ring.run(running(ring, 6))
    ring.gate.hold("somebody came near")
    ring.now += 2.0
    ring.run()
    aborted = decode_trial(ring.files()[0])
    assert "somebody came near" in aborted.meta.aborted
    assert (len(aborted), len(ring.files())) == (5, 3)
    assert rebuilt(ring.heard) == (ring.files(), [])


def test_a_trial_whose_actor_died_is_what_the_spool_recovers(live: Tapped) -> None:
    """Another actor goes on: the closed episode is kept under the spool's word for it."""
    second = next(i for i, h in enumerate(live.heard) if h.topic == "task" and h.value.key.episode == 1)
    died = live.heard[: second + 12]
    other = Tapped()
    other.collector._boot = "c" * 32
    other.collector._driver = other.collector._new_driver()
    other.run()
    files, reasons = rebuilt([*died, *other.heard])
    assert reasons == []
    assert files[1:] == other.files()
    recovered = decode_trial(files[0])
    assert recovered.meta.aborted == "the actor ended before it closed the trial"
    whole = live.trials[0]
    for name, column in recovered.rows.items():
        np.testing.assert_array_equal(column, whole.rows[name][:5])


def test_a_recording_that_begins_or_ends_in_the_middle(live: Tapped) -> None:
    episodes = [i for i, h in enumerate(live.heard) if h.topic == "task" and h.value.key.episode == 1]
    files, reasons = rebuilt(live.heard[episodes[0] :])
    assert (files, reasons) == (live.files()[1:], ["its recording begins with episode 1"])
    files, reasons = rebuilt(live.heard[20:])
    assert len(files) == 1
    assert "its recording begins with episode 1" in reasons[0]
    files, reasons = rebuilt(live.heard[: episodes[1] + 14])
    assert files == live.files()[:1]
    assert reasons[0].startswith("the recording ends before the trial does (")


@pytest.mark.parametrize(
    ("topic", "sentence"),
    [
        ("image", "image of step 2 of episode 0 is not in the recording"),
        ("reward", "reward of step 2 of episode 0 is not in the recording"),
        ("truth", "truth of step 2 of episode 0 is not in the recording"),
        ("action", "the command of step 2 of episode 0 is not in the recording"),
        ("executed_action", "what was executed of step 2 of episode 0 is not in the recording"),
    ],
)
def test_what_is_missing_is_named(live: Tapped, topic: str, sentence: str) -> None:
    third = [h for h in live.heard if h.topic == topic][2]
    files, reasons = rebuilt([h for h in live.heard if h is not third])
    assert files == live.files()[1:]
    assert reasons == [sentence]


def test_other_settings_are_noticed(live: Tapped) -> None:
    longer = dataclasses.replace(SMALL, task=dataclasses.replace(SMALL.task, horizon=5))
    shorter = dataclasses.replace(SMALL, task=dataclasses.replace(SMALL.task, horizon=3))
    seeded = dataclasses.replace(SMALL, train=dataclasses.replace(SMALL.train, seed=1))
    noisy = dataclasses.replace(SMALL, train=dataclasses.replace(SMALL.train, script_noise=0.5))
    for config, sentence in (
        (longer, "episode 0 ends early: recorded with other settings?"),
        (shorter, "episode 0 goes on after its end: recorded with other settings?"),
        (seeded, "these settings plan another task for trial 0 than was recorded"),
        (noisy, "a command of episode 0 is"),
    ):
        files, reasons = rebuilt(live.heard, config)
        assert files == []
        assert len(reasons) == 2
        assert sentence in reasons[0]


@SLOW
@given(st.data())
def test_a_recording_with_holes_gives_the_stored_trials_or_refuses(live: Tapped, data: st.DataObject) -> None:
    """Whatever is missing: never a trial that was not stored."""
    lost = data.draw(st.sets(st.integers(0, len(live.heard) - 1), min_size=1, max_size=12))
    files, reasons = rebuilt([h for i, h in enumerate(live.heard) if i not in lost])
    assert set(files) <= set(live.files())
    assert len(files) + len(reasons) <= 2


@SLOW
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_messages_of_a_step_may_come_in_any_order(live: Tapped, random: Any, reach: int) -> None:
    """Parts of steps overtake each other; announcements and reports keep their places."""
    heard, fixed = list(live.heard), ("task", "gate_state", "trial_events")
    for start in range(0, len(heard), reach):
        places = [i for i in range(start, min(start + reach, len(heard))) if heard[i].topic not in fixed]
        bounds = [i for i in range(start, min(start + reach, len(heard))) if heard[i].topic == "task"]
        places = [i for i in places if not bounds or i > bounds[-1]]
        shuffled = [heard[i] for i in places]
        random.shuffle(shuffled)
        for i, h in zip(places, shuffled, strict=True):
            heard[i] = h
    assert rebuilt(heard) == (live.files(), [])


def test_a_straggler_of_the_last_step_may_come_after_the_next_announcement(live: Tapped) -> None:
    task = next(i for i, h in enumerate(live.heard) if h.topic == "task" and h.value.key.episode == 1)
    last = max(i for i in range(task) if live.heard[i].topic == "reward")
    heard = [*live.heard[:last], *live.heard[last + 1 : task + 1], live.heard[last], *live.heard[task + 1 :]]
    assert rebuilt(heard) == (live.files(), [])


def imported(heard: Sequence[Heard], out: Path, **options: Any) -> ImportReport:
    return Importer(SMALL, out, **options).run(Recording(heard))


def test_import_writes_counts_and_compares(live: Tapped, tmp_path: Path) -> None:
    sent = [Heard("trials", 0, 0, data) for data in live.files()]
    report = imported([*live.heard, sent[0], sent[0]], tmp_path)
    assert (report.stored, report.known, report.sent, report.rebuilt, report.confirmed) == (2, 1, 1, 2, 1)
    assert report.whole
    names = [f"arm-ring-00000{i}-bbbbbbbb.safetensors".replace("arm", SMALL.robot.name) for i in (0, 1)]
    assert [(tmp_path / "replay" / name).read_bytes() for name in names] == live.files()
    again = imported(live.heard, tmp_path, from_steps=True)
    assert (again.stored, again.known) == (0, 2)


def test_import_keeps_what_was_sent_where_the_steps_say_otherwise(live: Tapped, tmp_path: Path) -> None:
    trial = decode_trial(live.files()[0])
    rows = {**trial.rows, "joints": trial.rows["joints"] + np.float32(1.0)}
    other = encode_trial(dataclasses.replace(trial, rows=rows))
    report = imported([*live.heard, Heard("trials", 0, 0, other)], tmp_path)
    assert not report.whole
    assert "rebuilt from its steps differs from what the policy sent" in report.contradicted[0]
    assert (tmp_path / "replay" / f"{trial.meta.id}.safetensors").read_bytes() == other


def test_import_refuses_and_counts(live: Tapped, tmp_path: Path) -> None:
    no_image = [h for h in live.heard if h.topic != "image"]
    report = imported([*no_image, Heard("trials", 0, 0, b"damaged")], tmp_path)
    assert (report.stored, len(report.refused)) == (0, 3)
    assert "image of step 0 of episode 0 is not in the recording" in report.refused[1]
    assert "3 refused" in report.summary()


def test_recording_groups_by_announcement(live: Tapped) -> None:
    groups: list[RecordedTrial] = list(Recording(live.heard).read())
    assert [(g.key.trial, len(g.segments), g.following is None) for g in groups] == [(0, 2, False), (1, 2, True)]
    assert isinstance(groups[0].segments[0].parts[groups[0].segments[0].opening.reset_stamp]["reward"][1], Reward)  # type: ignore[union-attr]
