"""The in-process loop on the real simulation: schedule, run folder, resuming."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from meld_core import train
from meld_core.config import Config
from meld_core.metrics import read_rows
from meld_core.replay import Replay
from meld_core.rollout import collect
from meld_core.schedule import Schedule, held_out_plans
from meld_core.storage.run_folder import RunFolder
from meld_core.train import train_in_process
from meld_core.types import Source, Trial
from meld_core.weights import latest_weights

from .learning import tiny_config


def small_run(*overrides: str) -> Config:
    return tiny_config("train.trials=5", "train.demonstrations=1", "train.random_trials=1", *overrides)


def same_rows(a: Trial, b: Trial) -> bool:
    return all(np.array_equal(a.rows[k], b.rows[k], equal_nan=k in ("reward", "probability")) for k in a.rows)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = small_run()
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "whole").create(config)
    assert train_in_process(config, folder)
    return folder


def test_a_run_leaves_what_the_readme_promises(finished: RunFolder) -> None:
    trials = Replay(finished.replay).trials
    assert [t.meta.id.counter for t in trials] == [0, 1, 2, 3, 4]
    sources = [Source(int(t.rows["source"][0])) for t in trials]
    assert sources == [Source.SCRIPT, Source.RANDOM, Source.POLICY, Source.POLICY, Source.POLICY]
    assert not list(finished.spool.glob("*.safetensors"))
    weights = latest_weights(finished.weights)
    assert weights is not None
    assert weights.trained_through_trial == 4
    assert len(read_rows(finished.path, "trial")) == 5
    assert {row["trial"] for row in read_rows(finished.path, "learner")} == {1, 3}
    facts = json.loads((finished.path / "training.json").read_text())
    assert facts["first_learner_update_step"] == sum(len(t) - 2 for t in trials[:2])


def test_trials_act_with_the_weights_that_the_schedule_names(finished: RunFolder) -> None:
    """Round 0 ends at trial 1, round 1 at trial 3: trials 2 and 3 act with version 0, trial 4 with version 1."""
    versions = [t.meta.weights_version for t in Replay(finished.replay).trials]
    assert versions == [-1, -1, 0, 0, 1]


def test_a_stopped_run_goes_on_to_the_same_trials_and_weights(finished: RunFolder, tmp_path: Path) -> None:
    """Stopped after three trials: the trials collected later, and the final weights, are those of the whole run."""
    config, stop = small_run(), threading.Event()
    folder = RunFolder(tmp_path / "whole").create(config)
    original, counted = train.run_trial, []

    def counting(*args: object) -> None:
        original(*args)  # type: ignore[arg-type]
        counted.append(args)
        if len(counted) == 3:
            stop.set()

    train.run_trial = counting  # type: ignore[assignment]
    try:
        assert not train_in_process(config, folder, stop)
        assert len(Replay(folder.replay).trials) == 3
        assert train_in_process(config, folder.create(config, resume=True))
    finally:
        train.run_trial = original
    again, whole = Replay(folder.replay).trials, Replay(finished.replay).trials
    for name in ("action", "image", "reward", "tool_position"):
        for a, b in zip(again, whole, strict=True):
            assert np.array_equal(a.rows[name], b.rows[name]), (name, a.meta.id.counter)
    final = [latest_weights(f.weights) for f in (folder, finished)]
    assert final[0] is not None
    assert final[1] is not None
    assert final[0].digest == final[1].digest


def test_evaluation_is_repeatable_and_clearing_the_belief_changes_it() -> None:
    config = tiny_config("model.memory=8")
    plans = held_out_plans(config, 2, task_seed=3)
    first, second = (list(collect(config, None, plans)) for _ in range(2))
    assert all(same_rows(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].meta.task["split"] == "held_out"
    cleared = list(collect(config, None, plans, clear_belief=True))
    half = [next(t.episodes()).stop for t in first]
    for a, b, n in zip(first, cleared, half, strict=True):
        assert np.array_equal(a.rows["action"][:n], b.rows["action"][:n])  # nothing to forget in episode 1
    assert any(not np.array_equal(a.rows["action"], b.rows["action"]) for a, b in zip(first, cleared, strict=True))


def test_actions_stay_in_range_and_executed_ones_in_the_workspace() -> None:
    config = tiny_config("train.demonstrations=0", "train.random_trials=2", "task.horizon=20")
    plans = [Schedule(config).plan(i) for i in range(2)]
    from meld_core.sim.arm import workspace

    lower, upper = workspace(config)
    for trial in collect(config, None, plans):
        assert np.abs(trial.rows["action"]).max() <= 1.0
        tool = trial.rows["tool_position"]
        assert (tool >= lower - 0.003).all()
        assert (tool <= upper + 0.003).all()
