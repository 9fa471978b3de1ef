"""The generalisation sweep: differences by hand, what does not apply, going on, and conditions that make a bench."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scored_trials import two_episodes

from meld_core.config import Config, ConfigError, EvalConfig, to_mapping
from meld_core.evaluation.intervals import independent_difference
from meld_core.evaluation.sweep import NOMINAL, SWEEP, Condition, SweepError, run_sweep, with_overrides
from meld_core.reporting.sweep_plot import plot_sweep
from meld_core.schedule import TrialPlan
from meld_core.sim.robot import SimRobot
from meld_core.sim.scene import check_bench
from meld_core.task_families import make_tasks
from meld_core.tasks import InsertionTasks
from meld_core.types import Trial
from meld_core.weights import Weights

CONFIG = dataclasses.replace(Config(), eval=EvalConfig(processes=1))
WEIGHTS = Weights({"x": torch.zeros(1)}, 3, 99, "told", to_mapping(CONFIG))
TIGHT = Condition("tight", ("task.clearance=0.003",))
FOUR = Condition("4 ports", ("task.ports=4",))
TOLD = "test_sweep:collect"


def collect(
    config: Config, weights: Weights | None, plans: Iterable[TrialPlan], clear_belief: bool = False
) -> Iterator[Trial]:
    """Everything succeeds, but with a tight clearance only every fourth second episode does."""
    for plan in plans:
        second = config.task.clearance > 0.004 or plan.seed % 4 == 0
        yield two_episodes(True, second, live=plan.task.live, counter=plan.index)


def collect_nothing(*_: object, **__: object) -> Iterator[Trial]:
    """Stands for a sweep that must not evaluate again."""
    raise AssertionError("evaluated again")


def test_independent_difference_is_newcombes_example() -> None:
    """Newcombe 1998, table II, contrast (a): 56/70 against 48/80, method 10: .0524 to .3339."""
    difference, (low, high) = independent_difference((56, 70), (48, 80))
    assert difference == pytest.approx(0.2)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
    with pytest.raises(ValueError, match="needs trials on both sides, got 0 and 3"):
        independent_difference((0, 0), (1, 3))


def test_differences_are_to_the_nominal_condition(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    conditions = (NOMINAL, TIGHT)
    sweep = run_sweep(
        CONFIG, WEIGHTS, tmp_path, 40, conditions=conditions, collect=TOLD, on_trial=lambda *step: told.append(step)
    )
    nominal, tight = sweep["conditions"]
    assert nominal["episodes"]["2"]["successes"] == 40
    assert nominal["difference"]["2"]["success"]["difference"] == 0.0
    assert tight["episodes"]["2"]["successes"] == 10  # seeds 1000 to 1039: a quarter
    assert tight["difference"]["2"]["success"]["difference"] == pytest.approx(-0.75)
    assert tight["difference"]["2"]["success"]["interval95"][1] < -0.5
    assert tight["difference"]["1"]["success"]["difference"] == 0.0
    assert told[0] == ("nominal", 1)
    assert told[-1] == ("tight", 80)
    assert json.loads((tmp_path / "sweep.json").read_text()) == sweep


def test_weights_for_three_ports_do_not_apply_to_four(tmp_path: Path) -> None:
    sweep = run_sweep(CONFIG, WEIGHTS, tmp_path, 8, conditions=(NOMINAL, FOUR), collect=TOLD)
    row = sweep["conditions"][1]
    assert row["applies"] is False
    assert "weights were built with task.ports=3, this config has 4" in row["why"]
    assert row["episodes"] == row["difference"] == {}
    picture = plot_sweep(sweep, tmp_path / "sweep.png")
    with Image.open(picture) as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_a_sweep_goes_on_where_it_was_stopped_and_other_trials_begin_anew(tmp_path: Path) -> None:
    first = run_sweep(CONFIG, WEIGHTS, tmp_path, 8, conditions=(NOMINAL,), collect=TOLD)
    again = run_sweep(CONFIG, WEIGHTS, tmp_path, 8, conditions=(NOMINAL,), collect="test_sweep:collect_nothing")
    assert again == first
    with pytest.raises(AssertionError, match="evaluated again"):
        run_sweep(CONFIG, WEIGHTS, tmp_path, 9, conditions=(NOMINAL,), collect="test_sweep:collect_nothing")


def test_a_sweep_without_nominal_condition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="the first condition of a sweep is the nominal one"):
        run_sweep(CONFIG, WEIGHTS, tmp_path, 8, conditions=(TIGHT,), collect=TOLD)


@pytest.mark.parametrize("condition", SWEEP, ids=lambda condition: condition.name)
def test_every_condition_makes_a_bench_with_held_out_tasks(condition: Condition) -> None:
    config = with_overrides(Config(), condition.overrides)
    check_bench(config)
    task = make_tasks(config.task).sample("held_out", 1000)
    assert len(task.ports) == config.task.ports
    assert (config == Config()) == (condition is NOMINAL)


def test_no_condition_puts_the_box_where_training_had_it() -> None:
    """Cells are counted from the edge of the range: a narrower range may call held out what training used."""
    whole, cells = Config().task, InsertionTasks(Config().task)
    trained = {(5 * i - 1e3 * whole.box_range[0], 5 * j - 1e3 * whole.box_range[1]) for i, j in cells._cells["train"]}
    for condition in SWEEP:
        config = with_overrides(Config(), condition.overrides)
        tasks, (x, y) = InsertionTasks(config.task), config.task.box_range
        corners = {(5 * i - 1e3 * x, 5 * j - 1e3 * y) for i, j in tasks._cells[config.eval.split]}
        assert corners, condition.name
        assert not {pair for pair in corners if any(np.allclose(pair, other) for other in trained)}, condition.name


def test_agents_of_three_ports_apply_to_every_condition() -> None:
    """Boxes of four and five ports too, with the networks that they have."""
    for condition in SWEEP:
        WEIGHTS.check_fits(with_overrides(CONFIG, condition.overrides))
    assert [with_overrides(Config(), condition.overrides).task.ports for condition in SWEEP[-2:]] == [4, 5]


def test_poses_beyond_the_range_are_drawn_from_the_ring_outside_it() -> None:
    config = with_overrides(Config(), ("task.box_range=[0.03, 0.0375]", "task.box_beyond=[0.02, 0.025]"))
    tasks = [InsertionTasks(config.task).sample("held_out", seed) for seed in range(200)]
    off = np.abs(np.array([task.box_position[:2] for task in tasks]) - config.task.box_center[:2])
    assert (off <= [0.03, 0.0375]).all()
    assert (off > [0.02, 0.025]).any(axis=1).all()
    assert (off < [0.02, 0.025])[:, 0].any()  # beyond along y alone, too


def test_headings_beyond_the_range_keep_their_sign() -> None:
    wide = with_overrides(Config(), ("task.box_yaw_range=0.3",))
    ring = with_overrides(wide, ("task.box_yaw_beyond=0.225",))
    drawn = [InsertionTasks(wide.task).sample("held_out", seed).box_yaw for seed in range(50)]
    moved = [InsertionTasks(ring.task).sample("held_out", seed).box_yaw for seed in range(50)]
    assert moved == pytest.approx([np.sign(yaw) * (0.225 + abs(yaw) / 4) for yaw in drawn])
    with pytest.raises(ConfigError, match=r"task\.box_yaw_beyond 0\.2 rad is wider than task\.box_yaw_range 0\.15"):
        make_tasks(with_overrides(Config(), ("task.box_yaw_beyond=0.2",)).task)


def test_a_delayed_arm_moves_one_step_after_its_command() -> None:
    """Commands up, still, still: the tool rises during the second step only; a reset forgets what is under way."""
    robot = SimRobot(with_overrides(Config(), ("sim.action_delay=1",)))
    robot.connect()
    robot.set_task(make_tasks(Config().task).sample("validation", 1))
    robot.reset()
    heights = [robot.observe().tool_position[2]]
    for up in (-0.5, 0.0, 0.0):
        assert robot.apply(np.array([0.0, 0.0, up], np.float32)).tolist() == [0.0, 0.0, up]
        robot.wait()
        heights.append(robot.observe().tool_position[2])
    moved = np.diff(heights)
    assert abs(moved[0]) < 0.0005
    assert moved[1] < -0.008
    assert abs(moved[2]) < 0.002
    robot.apply(np.array([0.0, 0.0, -0.5], np.float32))
    robot.reset()
    before = robot.observe().tool_position[2]
    robot.apply(np.zeros(3, np.float32))
    robot.wait()
    assert abs(robot.observe().tool_position[2] - before) < 0.0005
    robot.close()
