"""A whole trial as a gymnasium environment: boundaries, alignment of rewards, and what is hidden."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from meld_core.config import Config, ConfigError, load_config
from meld_core.scripted_search import ScriptedSearch
from meld_core.sim import TRIAL_ENVIRONMENT_ID
from meld_core.sim.trial_environment import InsertionTrialEnvironment, TrialObserver
from meld_core.task_families import make_tasks
from meld_core.trial import TrialClock
from meld_core.types import Observation, Reward, RobotState

ZERO = np.zeros(3, np.float32)
VALIDATION_4 = {"split": "validation", "task_seed": 4}


@pytest.fixture
def environment() -> Iterator[InsertionTrialEnvironment]:
    made = gymnasium.make(TRIAL_ENVIRONMENT_ID).unwrapped
    assert isinstance(made, InsertionTrialEnvironment)
    yield made
    made.close()


def insert(environment: InsertionTrialEnvironment) -> list[tuple[Any, ...]]:
    """Plug straight into the live port of validation task 4: what each `step` said, up to the episode's end."""
    task = make_tasks(Config().task).sample("validation", 4)
    way, said = ScriptedSearch(task, Config()), []
    while not said or not said[-1][4]["last_in_episode"]:
        assert environment._bench._state is not None
        action = way.toward(environment._bench._state.tool_position, task.live)
        said.append((*environment.step(action), action))
    return said


def row(x: float, reward: Reward) -> Observation:
    """An observation with the tool `x` [m] beside the middle of the workspace, which is z = 0.07 m."""
    state = RobotState(np.zeros(6), np.zeros(6), np.array([0.30 + x, 0.0, 0.07]), np.array([0.0, 0, 0, 1]), 1)
    return Observation(np.zeros((8, 4, 3), np.uint8), state, reward, 1)


def test_gymnasium_finds_no_fault() -> None:
    made = gymnasium.make(TRIAL_ENVIRONMENT_ID, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)
    made.close()


def test_success_is_told_with_the_first_observation_of_the_next_episode(
    environment: InsertionTrialEnvironment,
) -> None:
    start, info = environment.reset(options=VALIDATION_4)
    assert (info["task"], info["episode_index"], info["step"]) == ("insertion-validation-4", 0, 0)
    assert (start["first_in_episode"], start["reward"], start["episode"], start["remaining"]) == (1, 0, 0, 1)
    np.testing.assert_array_equal(start["arrival"], start["tool"])
    said = insert(environment)
    assert [s[1] for s in said] == [0.0] * (len(said) - 1) + [1.0]
    before, (seen, _, terminated, truncated, info, action) = said[-2][0], said[-1]
    assert not terminated
    assert not truncated
    assert (info["episode_index"], info["step"], info["success"]) == (0, len(said), True)
    assert (seen["first_in_episode"], seen["reward"], seen["episode"], seen["remaining"]) == (1, 1, 0.5, 1)
    np.testing.assert_array_equal(seen["previous_action"], action)
    assert seen["arrival"][2] < before["arrival"][2]  # deeper in the port than the step before
    assert seen["tool"][2] > seen["arrival"][2] + 0.5  # and now above the box again
    after, reward, *_ = environment.step(ZERO)
    assert (reward, after["reward"], after["first_in_episode"], after["remaining"]) == (0, 0, 0, np.float32(39 / 40))
    np.testing.assert_array_equal(after["arrival"], after["tool"])


def test_success_in_the_last_episode_ends_the_trial(environment: InsertionTrialEnvironment) -> None:
    environment.reset(options=VALIDATION_4)
    first, second = insert(environment), insert(environment)
    assert [s[2] for s in first] == [False] * len(first)
    assert [s[2:4] for s in second] == [(False, False)] * (len(second) - 1) + [(True, False)]
    assert second[-1][0]["first_in_episode"] == 0
    with pytest.raises(RuntimeError, match="call reset"):
        environment.step(ZERO)


def test_two_episodes_of_three_steps_are_six_control_steps() -> None:
    environment = InsertionTrialEnvironment(load_config(overrides=["task.horizon=3"]))
    environment.reset(seed=0)
    said = [environment.step(ZERO) for _ in range(6)]
    environment.close()
    assert [bool(s[0]["first_in_episode"]) for s in said] == [False, False, True, False, False, False]
    assert [s[2:4] for s in said] == [(False, False)] * 5 + [(False, True)]
    assert [s[4]["episode_index"] for s in said] == [0, 0, 0, 1, 1, 1]
    assert [s[4]["last_in_episode"] for s in said] == [False, False, True, False, False, True]
    assert [round(float(s[0]["remaining"][0]) * 3) for s in said] == [2, 1, 3, 2, 1, 0]


def test_which_port_is_live_cannot_be_seen_before_a_reward(
    environment: InsertionTrialEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same actions, with which the plug is seated in port 0, on two tasks that differ in the live port alone."""
    task = make_tasks(Config().task).sample("validation", 4)
    monkeypatch.setattr(environment, "_draw", lambda options: dataclasses.replace(task, live=0))
    way, seen, rewards, actions = ScriptedSearch(task, Config()), [environment.reset()[0]], [0.0], []
    while not rewards[-1]:
        assert environment._bench._state is not None
        actions.append(way.toward(environment._bench._state.tool_position, 0))
        observation, reward, *_ = environment.step(actions[-1])
        seen.append(observation)
        rewards.append(reward)
    monkeypatch.setattr(environment, "_draw", lambda options: dataclasses.replace(task, live=1))
    others = [environment.reset()[0]]
    for action in actions:
        observation, reward, *_ = environment.step(action)
        others.append(observation)
    assert (rewards[-1], seen[-1]["reward"], reward, others[-1]["reward"]) == (1, 1, 0, 0)
    for one, other in zip(seen[:-1], others[:-1], strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_row_tells_what_the_step_before_it_brought() -> None:
    """Workspace 0.12 m wide along x: 0.03 m beside its middle is 0.5."""
    config = load_config(overrides=["task.horizon=2"])
    clock, observer = TrialClock(config.task), TrialObserver(config)
    clock.begin_trial()
    paid, nothing = Reward(1.0, True, 1.0), Reward(0.0, False, 0.0)
    action = np.array([1.0, 0.0, -1.0], np.float32)
    first = observer.see(row(0.0, nothing), clock.row(False), None)
    last = observer.see(row(0.03, paid), clock.row(True), action)
    again = observer.see(row(-0.03, paid), clock.row(False), ZERO)  # the LED that is lit still was not earned here
    missing = observer.see(row(0.0, Reward.missing()), clock.row(False), ZERO)
    assert [float(seen["reward"][0]) for seen in (first, last, again, missing)] == [0, 1, 1, 0]
    assert [float(seen["reward_valid"][0]) for seen in (first, last, again, missing)] == [1, 1, 1, 0]
    assert [float(seen["first_in_episode"][0]) for seen in (first, last, again, missing)] == [1, 0, 1, 0]
    np.testing.assert_allclose([seen["tool"][0] for seen in (first, last, again)], [0.0, 0.5, -0.5], atol=1e-6)
    np.testing.assert_allclose([seen["arrival"][0] for seen in (first, last, again)], [0.0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_array_equal(again["previous_action"], action)
    np.testing.assert_array_equal(missing["previous_action"], ZERO)
    observer.begin_trial()
    clock.begin_trial()
    assert observer.see(row(0.0, nothing), clock.row(False), None)["reward"] == 0


def test_unknown_options_and_splits_name_the_close_one(environment: InsertionTrialEnvironment) -> None:
    with pytest.raises(ConfigError, match="unknown reset option 'taskseed'; did you mean 'task_seed'"):
        environment.reset(options={"taskseed": 1})
    with pytest.raises(ConfigError, match="unknown split 'valid'"):
        InsertionTrialEnvironment(split="valid")
