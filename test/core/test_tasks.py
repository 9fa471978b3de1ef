"""Tasks: splits that share no pose, a hash that tells configs apart, geometry by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from meld_core.config import ConfigError, TaskConfig
from meld_core.task_families import make_tasks
from meld_core.tasks import SPLITS, InsertionTasks, Task, in_port, in_port_frame, seated, shaped_reward

CONFIG = TaskConfig()


def straight_task(yaw: float = 0.0) -> Task:
    """Three ports along y (or -x, for a quarter turn) around (0.3, 0, 0.06)."""
    along = (-math.sin(yaw), math.cos(yaw))
    ports = tuple((0.3 + d * along[0], d * along[1], 0.06) for d in (-0.044, 0.0, 0.044))
    return Task("t", "train", 0, (0.3, 0.0, 0.06), yaw, ports, 0)


def test_a_task_is_a_function_of_split_and_seed() -> None:
    assert InsertionTasks(CONFIG).sample("train", 5) == InsertionTasks(CONFIG).sample("train", 5)
    assert InsertionTasks(CONFIG).sample("train", 5) != InsertionTasks(CONFIG).sample("train", 6)


def test_splits_share_no_box_position_closer_than_a_millimetre() -> None:
    tasks = InsertionTasks(CONFIG)
    places = {s: np.array([tasks.sample(s, seed).box_position[:2] for seed in range(300)]) for s in SPLITS}
    for one, other in (("train", "validation"), ("train", "held_out"), ("validation", "held_out")):
        apart = np.linalg.norm(places[one][:, None] - places[other][None], axis=-1)
        assert apart.min() >= 0.001 - 1e-12


def test_every_port_is_live_equally_often_in_every_split() -> None:
    tasks = InsertionTasks(CONFIG)
    for split in SPLITS:
        live = np.bincount([tasks.sample(split, seed).live for seed in range(600)], minlength=3)
        assert live.min() > 160


def test_poses_stay_in_their_range() -> None:
    tasks = InsertionTasks(CONFIG)
    sampled = [tasks.sample(split, seed) for split in SPLITS for seed in range(200)]
    offset = np.array([task.box_position for task in sampled]) - CONFIG.box_center
    assert (np.abs(offset) <= [0.020, 0.025, 0.0]).all()
    assert max(abs(task.box_yaw) for task in sampled) <= 0.15


@pytest.mark.parametrize("change", [{"clearance": 0.003}, {"ports": 2}, {"box_range": (0.02, 0.02)}])
def test_another_config_has_another_split_hash(change: dict[str, object]) -> None:
    other = dataclasses.replace(CONFIG, **change)
    assert InsertionTasks(other).split_hash() != InsertionTasks(CONFIG).split_hash()
    assert InsertionTasks(CONFIG).split_hash() == make_tasks(TaskConfig()).split_hash()


def test_json_round_trip() -> None:
    task = InsertionTasks(CONFIG).sample("held_out", 3)
    assert Task.from_json(task.to_json()) == task


def test_in_port_frame_turns_with_the_box() -> None:
    """A quarter turn: port 2 lies 44 mm towards -x; 3 mm towards its own x is 3 mm towards base_link's y."""
    task = straight_task(math.pi / 2)
    np.testing.assert_allclose(in_port_frame(np.array([0.256, 0.003, 0.05]), task, 2), [0.003, 0, -0.01], atol=1e-12)


@pytest.mark.parametrize(
    ("x", "depth", "expected"),
    [(0.0, 0.0101, True), (0.0, 0.0099, False), (0.0069, 0.012, True), (0.0071, 0.012, False)],
)
def test_seated_is_deep_enough_and_inside(x: float, depth: float, expected: bool) -> None:
    """10 mm deep, within 5 mm clearance and 2 mm of give."""
    tip = np.array([0.3 + x, -0.044, 0.06 - depth])
    assert bool(seated(tip, straight_task(), 0, CONFIG)) is expected
    assert not seated(tip, straight_task(), 1, CONFIG)


def test_entered_is_3_mm() -> None:
    tips = np.array([[0.3, 0.0, 0.0569], [0.3, 0.0, 0.0571]])
    assert in_port(tips, straight_task(), 1, CONFIG, 0.003).tolist() == [True, False]


def test_unknown_split_and_task_name_the_close_one() -> None:
    with pytest.raises(ConfigError, match="unknown split 'heldout'; did you mean 'held_out'"):
        InsertionTasks(CONFIG).sample("heldout", 0)
    with pytest.raises(ConfigError, match="unknown task 'insert'; did you mean 'insertion'"):
        make_tasks(dataclasses.replace(CONFIG, name="insert"))


def test_a_range_without_room_for_all_splits_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves no cell for split 'held_out'"):
        InsertionTasks(dataclasses.replace(CONFIG, box_range=(0.0, 0.0))).sample("held_out", 0)


@pytest.mark.parametrize("yaw", [0.0, math.pi / 2])
def test_shaped_reward_falls_with_the_distance_to_the_seat(yaw: float) -> None:
    """Seated 1, deeper no less; (0, 30, 40) mm from the seat, 50 in all, 1 - tanh(1) = 0.238406."""
    task, depth = straight_task(yaw), CONFIG.depth
    mouth, along = np.array(task.ports[1]), np.array([-math.sin(yaw), math.cos(yaw), 0.0])
    at = np.stack([mouth - [0, 0, depth], mouth - [0, 0, depth + 0.002], mouth + 0.03 * along + [0, 0, 0.04 - depth]])
    assert shaped_reward(at, task, 1, CONFIG).tolist() == pytest.approx([1.0, 1.0, 0.238406], abs=1e-6)
