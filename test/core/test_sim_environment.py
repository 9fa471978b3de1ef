"""The gymnasium environment keeps gymnasium's rules and the hidden task hidden."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from meld_core.config import Config, ConfigError, load_config
from meld_core.scripted_search import ScriptedSearch
from meld_core.sim import ENVIRONMENT_ID
from meld_core.sim.environment import InsertionEnvironment
from meld_core.task_families import make_tasks


@pytest.fixture
def environment() -> Iterator[InsertionEnvironment]:
    made = gymnasium.make(ENVIRONMENT_ID).unwrapped
    assert isinstance(made, InsertionEnvironment)
    yield made
    made.close()


def test_gymnasium_finds_no_fault() -> None:
    made = gymnasium.make(ENVIRONMENT_ID, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)
    made.close()


def test_the_scripted_search_is_rewarded_and_ends_the_episode(environment: InsertionEnvironment) -> None:
    task = make_tasks(Config().task).sample("validation", 4)
    _, info = environment.reset(options={"split": "validation", "task_seed": 4})
    assert info == {"task": "insertion-validation-4", "success": False, "reward_valid": True}
    script, rewards, terminated = ScriptedSearch(task, Config()), [], False
    while not terminated:
        assert environment._state is not None
        _, reward, terminated, truncated, info = environment.step(script.act(environment._state.tool_position))
        rewards.append(reward)
        assert not truncated
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert info["success"]


def test_an_episode_without_success_is_truncated_at_the_horizon() -> None:
    environment = InsertionEnvironment(load_config(overrides=["task.horizon=3"]))
    environment.reset(seed=0)
    ends = [environment.step(np.zeros(3, np.float32))[2:4] for _ in range(3)]
    environment.close()
    assert ends == [(False, False), (False, False), (False, True)]


def test_keep_task_attempts_the_same_task_from_another_start(environment: InsertionEnvironment) -> None:
    first, info = environment.reset(seed=3)
    second, again = environment.reset(options={"keep_task": True})
    other = environment.reset()[1]
    assert info["task"] == again["task"] != other["task"]
    assert not np.array_equal(first["proprioception"], second["proprioception"])


def test_unknown_options_and_splits_name_the_close_one(environment: InsertionEnvironment) -> None:
    with pytest.raises(ConfigError, match="unknown reset option 'keeptask'; did you mean 'keep_task'"):
        environment.reset(options={"keeptask": True})
    with pytest.raises(ConfigError, match="unknown split 'valid'"):
        InsertionEnvironment(split="valid")


def test_step_before_reset_is_one_clear_sentence(environment: InsertionEnvironment) -> None:
    with pytest.raises(RuntimeError, match="call reset"):
        environment.step(np.zeros(3, np.float32))
