"""Each port live in turn: who is not shown the reward has to act the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from meld_core.agent import Agent
from meld_core.driver import Driver
from meld_core.evaluation.every_port import each_port_live, same_actions
from meld_core.schedule import held_out_plans
from meld_core.storage.memory_sink import MemorySink
from meld_core.storage.trial_file import decode_trial
from meld_core.study.cell import Cell, plans_of
from meld_core.study.goals import _same_actions
from meld_core.study.results import read_row
from meld_core.study.table import Row, Settings, Study, StudyError
from meld_core.study.work import kept_trials
from meld_core.types import Trial

from .learning import tiny_config
from .study_builder import store, told_cell, told_study
from .test_learner import observation

SAME = ((True, True), (True, True, False))


def test_each_task_comes_once_with_each_port_live() -> None:
    drawn = held_out_plans(tiny_config(), 2, 50)
    plans = each_port_live(drawn, 3)
    assert [plan.index for plan in plans] == list(range(6))
    assert [plan.task.live for plan in plans] == [0, 1, 2, 0, 1, 2]
    assert [plan.seed for plan in plans] == [50, 50, 50, 51, 51, 51]  # noise of the policy, if it draws any
    assert [dataclasses.replace(plan.task, live=drawn[0].task.live) for plan in plans[:3]] == [drawn[0].task] * 3


def test_a_port_that_moves_cannot_be_held(tmp_path: Path) -> None:
    moving = tiny_config("task.switch_probability=0.5")
    cell = Cell("moving", 0, Row(every_port=True), Settings(moving, moving), tmp_path)
    with pytest.raises(
        StudyError, match=r"row 'moving': every_port holds the live port, task\.switch_probability moves"
    ):
        plans_of(cell)


def acted(live: int, seed: int = 50, *settings: str) -> Trial:
    """Greedy initial weights, episodes of fixed length, told observations: the reward comes at step 1 + `live`."""
    config = tiny_config("task.episode_form=fixed_length", *settings)
    plan = held_out_plans(config, 1, seed)[0]
    driver = Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32)
    driver.begin_trial(dataclasses.replace(plan, task=dataclasses.replace(plan.task, live=live)))
    stamp = 1000 * seed
    while not driver.trial_over:
        action, step = driver.tick(observation(stamp), None), 0
        while action is not None:
            stamp, step = stamp + 1, step + 1
            action = driver.tick(observation(stamp, float(step == 1 + live)), action)
        stamp += 1
    assert driver.last_trial is not None
    return driver.last_trial


def test_who_is_not_shown_the_reward_acts_the_same_and_who_is_shown_it_does_not() -> None:
    """The whole way of a reward: driver, agent, filter, actor."""
    hidden = [acted(live, seed, "model.observe_reward=false") for seed in (50, 51) for live in (0, 1, 2)]
    shown = [acted(live, seed) for seed in (50, 51) for live in (0, 1, 2)]
    assert [np.flatnonzero(trial.rows["reward"])[0] for trial in hidden] == [1, 2, 3, 1, 2, 3]
    assert same_actions(hidden) == [True, True]
    assert same_actions(shown) == [False, False]


def test_one_bit_or_one_step_less_is_not_the_same() -> None:
    one, two, three = (acted(live, 50, "model.observe_reward=false") for live in (0, 1, 2))
    action = two.rows["action"].copy()
    action[2, 0] = np.nextafter(action[2, 0], np.float32(2.0))
    other = dataclasses.replace(two, rows={**two.rows, "action": action})
    shorter = dataclasses.replace(three, rows={name: column[:-1] for name, column in three.rows.items()})
    assert same_actions([one, two, three]) == [True]
    assert same_actions([one, other, three]) == [False]
    assert same_actions([one, two, shorter]) == [False]


def test_a_task_tried_with_one_port_alone_says_nothing() -> None:
    trials = [acted(live, seed, "model.observe_reward=false") for seed, live in ((50, 0), (50, 0), (51, 1), (51, 2))]
    assert same_actions(trials) == [True]


def test_what_a_row_did_is_read_from_its_raw_trials(tmp_path: Path) -> None:
    """Two tasks with three ports each, all acted alike; then one action of the last trial is another."""
    cell = told_cell(tmp_path, "each", 0, [True, False], every_port=True)
    study = Study("told", "Told trials.", {"each": cell.row})
    assert read_row(study, "each", [cell]).cells[0].same_actions == (True, True)
    trial = decode_trial(kept_trials(cell.evaluation)[5].read_bytes())
    store(cell, dataclasses.replace(trial, rows={**trial.rows, "action": trial.rows["action"] * np.float32(0.5)}))
    assert read_row(study, "each", [cell]).cells[0].same_actions == (True, False)
    plain = told_cell(tmp_path, "plain", 0, [True, False])
    assert read_row(Study("told", "", {"plain": plain.row}), "plain", [plain]).cells[0].same_actions == ()


def test_the_goal_is_that_no_task_differs(tmp_path: Path) -> None:
    study, cells = told_study(tmp_path / "out")
    row = read_row(study, "default", cells[:2])
    assert _same_actions(row).reached is None  # no evaluation of each port
    told = [dataclasses.replace(cell, same_actions=same) for cell, same in zip(row.cells, SAME, strict=True)]
    goal = _same_actions(dataclasses.replace(row, cells=tuple(told)))
    assert goal.measured == "the same, bit for bit, in 2 of 2 (seed 0), 2 of 3 (seed 1)"
    assert goal.reached is False
    assert _same_actions(dataclasses.replace(row, cells=tuple(told[:1]))).reached is True
