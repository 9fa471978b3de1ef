"""Schedule and scripted search."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from meld_core.config import Config, load_config
from meld_core.schedule import Round, Schedule, held_out_plans
from meld_core.scripted_search import ScriptedSearch
from meld_core.task_families import make_tasks
from meld_core.tasks import Task, seated
from meld_core.types import Source


def config_with(*overrides: str) -> Config:
    base = ["train.demonstrations=3", "train.random_trials=1", "train.trials=20", "learner.update_every=4"]
    return load_config(overrides=[*base, *overrides])


def test_sources_and_weights_of_each_trial() -> None:
    """Initial trials 0-3; rounds end at trials 3, 7, 11 ...; with lead 1 trial 8 acts with the weights of round 7."""
    plans = [Schedule(config_with()).plan(n) for n in range(13)]
    assert [p.source for p in plans[:5]] == [Source.SCRIPT] * 3 + [Source.RANDOM, Source.POLICY]
    assert [p.needs_weights_through for p in plans] == [None] * 4 + [3] * 4 + [7] * 4 + [11]


def test_lead_lets_the_actor_run_ahead_of_the_learner() -> None:
    """With lead 4 trial 8 still acts with the weights of trial 3, trial 11 with those of trial 7."""
    schedule = Schedule(config_with("train.lead=4"))
    assert [schedule.plan(n).needs_weights_through for n in (4, 8, 10, 11, 15)] == [3, 3, 3, 7, 11]


def test_every_needed_version_is_made() -> None:
    schedule = Schedule(config_with("train.lead=3"))
    made = {n for n in range(schedule.trials) if schedule.updates_after(n)}
    assert {schedule.plan(n).needs_weights_through for n in range(4, schedule.trials)} <= made


def test_updates() -> None:
    schedule = Schedule(config_with("learner.pretrain_model_updates=9", "learner.model_updates=5"))
    updates = {n: schedule.updates_after(n) for n in range(9)}
    assert updates[3] == Round(9, 1000)
    assert updates[7] == Round(5, 400)
    assert [n for n, u in updates.items() if u is None] == [0, 1, 2, 4, 5, 6, 8]


def test_plans_are_pure_and_tasks_of_two_seeds_differ() -> None:
    one, other = Schedule(config_with()), Schedule(config_with("train.seed=1"))
    assert one.plan(5) == Schedule(config_with()).plan(5)
    assert one.plan(5).task != other.plan(5).task
    assert one.plan(5).task.split == "train"


def test_held_out_plans_use_the_asked_split_and_seed() -> None:
    plans = held_out_plans(config_with("eval.split=validation"), 3, 50)
    assert [p.task.id for p in plans] == [f"insertion-validation-{n}" for n in (50, 51, 52)]
    assert all(p.greedy and p.needs_weights_through is None for p in plans)


class Puppet:
    """A point that moves exactly as told, stopped by nothing."""

    def __init__(self, position: np.ndarray) -> None:
        self.position = position


def search(task: Task, start: np.ndarray, steps: int) -> list[int]:
    """Ports in which the tip is seated, in order of their first visit, until the live one."""
    config = load_config()
    script, puppet, visited = ScriptedSearch(task, config), Puppet(start), []
    script.begin_episode()
    for _ in range(steps):
        puppet.position = puppet.position + script.act(puppet.position) * config.robot.step_size
        for port in range(3):
            if seated(puppet.position, task, port, config.task) and port not in visited:
                visited.append(port)
        if task.live in visited:
            break
    return visited


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ((0.0, 0.0, 0.030), (0.0, 0.0, -1.0)),  # on the axis: down at full speed from any height ...
        ((0.001, 0.0, -0.0091), (-0.05, 0.0, -1.0)),  # ... also 0.9 mm short of the seat
        ((0.005, 0.0, 0.004), (-0.25, 0.0, 0.0)),  # 5 mm beside it, 4 mm above the mouth: sideways
        ((0.003, 0.0, -0.0472), (-0.15, 0.0, 0.0)),  # 1/5 of the way from 2.5 to 5 mm: -60 + 64/5 mm = -47.2 mm
        ((0.020, 0.0, -0.010), (0.0, 0.0, 0.9)),  # in another hole: straight up, to 8 mm above the mouths ...
        ((0.020, 0.0, -0.001), (-0.5, 0.0, 0.45)),  # ... and half as fast sideways 1 mm below them
    ],
)
def test_way_into_a_port(offset: tuple[float, float, float], expected: tuple[float, float, float]) -> None:
    config = load_config()
    task = dataclasses.replace(make_tasks(config.task).sample("train", 7), box_yaw=0.0)
    tool = np.asarray(task.ports[1]) + np.asarray(offset)
    way = ScriptedSearch(task, config).toward(tool, 1)
    np.testing.assert_allclose(way, expected, atol=1e-6)


@pytest.mark.parametrize("live", [0, 1, 2])
@pytest.mark.parametrize("above", [0, 2])
def test_search_goes_from_the_middle_outwards_wherever_it_starts(live: int, above: int) -> None:
    """The order is middle, first, last; it stops at the live one."""
    task = dataclasses.replace(make_tasks(load_config().task).sample("train", 7), live=live)
    visited = search(task, np.asarray(task.ports[above]) + np.array([0.0, 0.0, 0.025]), steps=40)
    order = [1, 0, 2]
    assert visited == order[: order.index(live) + 1]


def test_the_demonstrator_stays_in_the_port_that_pays() -> None:
    """Seated in the middle port: unpaid it goes up for the next one, paid it presses on until the episode is over."""
    config = load_config()
    task = make_tasks(config.task).sample("train", 7)
    seat = np.asarray(task.ports[1]) - np.array([0.0, 0.0, config.task.depth + 0.001])
    script = ScriptedSearch(task, config)
    assert seated(seat, task, 1, config.task)
    assert script.act(seat)[2] > 0.0
    script.begin_episode()
    assert script.act(seat, paid=True)[2] < 0.0
    assert script.act(seat)[2] < 0.0, "a reward that is not seen for once changes nothing"
    script.begin_episode()
    assert script.act(seat)[2] > 0.0
