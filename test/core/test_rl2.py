"""RL² by RecurrentPPO: trains on whole trials, acts behind the driver as in its environment, says how it goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from meld_core.baselines import rl2
from meld_core.baselines.raw_trials import rescore
from meld_core.baselines.recurrent_ppo import (
    LearningCurve,
    ModelPictures,
    Rl2Policy,
    make_model,
    small_picture,
)
from meld_core.config import Config
from meld_core.schedule import TrialPlan
from meld_core.sim.trial_environment import InsertionTrialEnvironment
from meld_core.task_families import make_tasks
from meld_core.types import Source

from .learning import tiny_config

TINY = ("rl2.rollout=32", "rl2.batch=16", "rl2.epochs=1", "rl2.memory=8", "rl2.hidden=8", "eval.split=validation")


def config() -> Config:
    return tiny_config(*TINY)


def test_sixty_four_steps_and_two_tasks(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    result = rl2.run_rl2(
        config(), 64, 0, tmp_path / "raw", trials=2, task_seed=0, on_progress=lambda *a: told.append(a)
    )
    training = result["training"]
    assert (training["env_steps"], training["seed"]) == (64, 0)
    assert [point["steps"] for point in training["curve"]] == [32, 64]
    assert told == [("training", 32, 64), ("training", 64, 64), ("evaluation", 1, 2), ("evaluation", 2, 2)]
    assert (result["agent"], result["trials"], result["split"]) == ("rl2", 2, "validation")
    assert json.loads(json.dumps(result)) == result
    assert rescore(config(), tmp_path / "raw")["outcomes"] == result["outcomes"]


def test_training_changes_the_policy_and_the_same_seed_gives_the_same_one() -> None:
    tiny = config()
    untrained = make_model(tiny, ModelPictures(InsertionTrialEnvironment(tiny), tiny), 3).policy.state_dict()
    one, two = (rl2.train_rl2(tiny, 32, 3)._policy.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    changed = {name.split(".")[0] for name in one if not torch.equal(one[name], untrained[name])}
    assert {"features_extractor", "lstm_actor", "lstm_critic", "action_net", "value_net"} <= changed


def test_watching_can_end_the_training() -> None:
    policy = rl2.train_rl2(config(), 1000, 0, watch=lambda steps: steps >= 32)
    assert policy.training["env_steps"] == 33  # it is asked after a rollout, and obeyed at the next step


def test_behind_the_driver_it_acts_as_in_its_environment() -> None:
    """The same task, greedy, both ways: the same actions, in both episodes, so that its memory saw the same."""
    tiny = config()
    environment = InsertionTrialEnvironment(tiny)
    model = make_model(tiny, ModelPictures(environment, tiny), 1)
    expected: list[np.ndarray] = []
    seen, _ = environment.reset(options={"split": "validation", "task_seed": 7})
    memory, over = None, False
    while not over:
        action, memory = model.policy.predict(small_picture(seen, tiny), memory, deterministic=True)
        expected.append(action)
        seen, _, terminated, truncated, _ = environment.step(action)
        over = terminated or truncated
    environment.close()
    task = make_tasks(tiny.task).sample("validation", 7)
    plan = TrialPlan(0, task, Source.POLICY, None, 0, greedy=True)
    (trial,) = rl2.collect_rl2(tiny, Rl2Policy(tiny, model, {}), [plan])
    acted = [k for rows in trial.episodes() for k in range(rows.start, rows.stop - 1)]
    assert len(acted) == 2 * tiny.task.horizon
    np.testing.assert_array_equal(trial.rows["intended_action"][acted], np.asarray(expected))


def test_samples_follow_the_seed_of_the_trial() -> None:
    tiny = config()
    model = make_model(tiny, ModelPictures(InsertionTrialEnvironment(tiny), tiny), 1)
    task = make_tasks(tiny.task).sample("validation", 7)
    plans = [TrialPlan(i, task, Source.POLICY, None, seed) for i, seed in enumerate((5, 5, 6))]
    one, again, other = (t.rows["action"] for t in rl2.collect_rl2(tiny, Rl2Policy(tiny, model, {}), plans))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def told(curve: LearningCurve, episode: int, port: int, success: bool, over: bool = False) -> None:
    """One step of a task whose live port is 1."""
    truth = {"port": float(port), "success": float(success), "live": 1}
    info: dict[str, Any] = {"truth": truth, "episode_index": episode}
    curve.locals = {"infos": [info], "dones": np.array([over])}
    assert curve._on_step()


def test_the_learning_curve_counts_by_episode() -> None:
    curve = LearningCurve(2, 100)
    told(curve, 0, 2, False)
    told(curve, 0, 1, True)
    told(curve, 1, 1, False, over=True)  # entered the live port first, but not deep enough
    told(curve, 0, -1, False)
    told(curve, 1, 1, True, over=True)
    curve.num_timesteps = 5
    curve._on_rollout_end()
    (point,) = curve.facts()["curve"]
    assert (point["steps"], point["trials"]) == (5, 2)
    assert point["success"] == [0.5, 0.5]
    assert point["first_attempt"] == [0.0, 1.0]


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rl2.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "sb3_contrib", raising=False)
    with pytest.raises(rl2.MissingPackageError, match=r"pip install 'meld_ros\[baselines\]'"):
        rl2.train_rl2(Config(), 1, 0)
