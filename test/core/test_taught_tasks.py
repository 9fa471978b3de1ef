"""Taught ports: averages by hand, strict files, splits that share no port."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from meld_core.config import Config, ConfigError, TaskConfig
from meld_core.task_families import make_tasks
from meld_core.tasks import SPLITS
from meld_core.taught_tasks import Placement, TaughtTasks, check_reach, read_taught, write_taught
from meld_core.teaching import StillPose, TeachError, Teaching

ROW = ((0.30, -0.044, 0.06), (0.30, 0.0, 0.06), (0.30, 0.044, 0.06))


def placement(name: str = "middle", shift: float = 0.0, splits: tuple[str, ...] = ("train",) * 3) -> Placement:
    """Three ports in a row along y."""
    mouths = tuple((x + shift, y, z) for x, y, z in ROW)
    return Placement(name, mouths, (0.001, 0.0, 0.002), (3, 3, 3), splits)


def taught(path: Path, *placements: Placement, **settings: object) -> TaskConfig:
    """Settings of tasks with a file of these placements."""
    write_taught(placements, path)
    return dataclasses.replace(TaskConfig(), name="ethernet", taught=str(path), **settings)


def test_a_file_survives_the_round_trip(tmp_path: Path) -> None:
    both = (placement(), placement("left", 0.02, ("train", "validation", "held_out")))
    write_taught(both, tmp_path / "ports.yaml")
    assert read_taught(tmp_path / "ports.yaml") == both
    assert [path.name for path in tmp_path.iterdir()] == ["ports.yaml"]


def test_center_and_heading_by_hand() -> None:
    middle = placement()
    assert middle.center == pytest.approx((0.30, 0.0, 0.06))
    assert middle.yaw == pytest.approx(0.0)
    turned = dataclasses.replace(middle, mouths=((0.344, 0.0, 0.06), (0.30, 0.0, 0.06), (0.256, 0.0, 0.06)))
    assert turned.yaw == pytest.approx(math.pi / 2)  # the row runs along -x: a quarter turn


def test_each_split_draws_only_its_own_ports_each_equally_often(tmp_path: Path) -> None:
    config = taught(tmp_path / "p.yaml", placement(splits=("train", "train", "held_out")), placement("left", 0.02))
    tasks = make_tasks(config)
    train = [tasks.sample("train", seed) for seed in range(1000)]
    pairs = {(task.box_position[0] > 0.31, task.live) for task in train}
    assert pairs == {(False, 0), (False, 1), (True, 0), (True, 1), (True, 2)}
    counts = [sum((t.box_position[0] > 0.31, t.live) == pair for t in train) for pair in pairs]
    assert min(counts) > 150  # 200 expected
    held_out = {(task.box_position, task.live) for task in (tasks.sample("held_out", seed) for seed in range(50))}
    assert held_out == {(placement().center, 2)}
    with pytest.raises(ConfigError, match="no port of .* belongs to 'validation'; teach one with --split validation"):
        tasks.sample("validation", 0)


def test_a_task_is_a_function_of_split_and_seed_and_says_where(tmp_path: Path) -> None:
    config = taught(tmp_path / "p.yaml", placement())
    task = TaughtTasks(config).sample("train", 7)
    assert task == TaughtTasks(config).sample("train", 7)
    assert (task.id, task.ports, task.later_live) == ("ethernet-train-7-middle", ROW, ())


def test_the_hash_tells_taught_ports_and_splits_apart_but_not_files(tmp_path: Path) -> None:
    one = TaughtTasks(taught(tmp_path / "a.yaml", placement())).split_hash()
    assert TaughtTasks(taught(tmp_path / "b.yaml", placement())).split_hash() == one
    assert TaughtTasks(taught(tmp_path / "c.yaml", placement(shift=0.001))).split_hash() != one
    other = placement(splits=("train", "train", "held_out"))
    assert TaughtTasks(taught(tmp_path / "d.yaml", other)).split_hash() != one


def test_the_same_place_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"port 1 of 'again' \(held_out\) and port 1 of 'middle' \(train\) are 4.0 mm"
    ):
        write_taught((placement(), placement("again", 0.004, ("held_out",) * 3)), tmp_path / "p.yaml")
    assert list(tmp_path.iterdir()) == []
    write_taught((placement(), placement("again", 0.006, ("held_out",) * 3)), tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must hold 'placements"),
        ("placement: {}", "must hold 'placements"),
        (
            "placements: {a: {mouths: [[0, 0, 0]], spread: [0], teachings: [1], split: [train]}}",
            "did you mean 'splits'",
        ),
        ("placements: {a: {mouths: [[0, 0, 0]], spread: [0], teachings: [1]}}", "lacks the list 'splits'"),
        ("placements: {a: {mouths: [[0, 0]], spread: [0], teachings: [1], splits: [train]}}", "mouths are"),
        ("placements: {a: {mouths: [[0, 0, .nan]], spread: [0], teachings: [1], splits: [train]}}", "cannot be"),
        (
            "placements: {a: {mouths: [[0, 0, 0]], spread: [0], teachings: [1], splits: [trian]}}",
            "did you mean 'train'",
        ),
        ("placements: {a: {mouths: [[0, 0, 0]], spread: [], teachings: [1], splits: [train]}}", "1 mouths, 0 spreads"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_taught(tmp_path / "p.yaml")


def test_what_is_not_the_box_of_the_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 3 ports, task.ports is 2"):
        TaughtTasks(taught(tmp_path / "a.yaml", placement(), ports=2))
    with pytest.raises(ConfigError, match=r"44.0, 44.0 mm apart, task.port_spacing says 60.0 mm"):
        TaughtTasks(taught(tmp_path / "b.yaml", placement(), port_spacing=0.060))
    tilted = dataclasses.replace(placement(), mouths=(*ROW[:2], (0.30, 0.044, 0.07)))
    with pytest.raises(ConfigError, match="heights of its ports differ by 10.0 mm"):
        TaughtTasks(taught(tmp_path / "c.yaml", tilted))
    with pytest.raises(ConfigError, match="cannot move the cable within a trial unseen"):
        TaughtTasks(taught(tmp_path / "d.yaml", placement(), switch_probability=0.5))
    with pytest.raises(ConfigError, match="no ports were taught"):
        make_tasks(dataclasses.replace(TaskConfig(), name="ethernet"))


def test_ports_outside_the_workspace_are_refused_when_they_are_taught() -> None:
    for mouth in ROW:
        check_reach(mouth, Config())
    teaching = Teaching(1, 1, 0.003, 0.012, lambda mouth: check_reach(mouth, Config()))
    with pytest.raises(TeachError, match=r"a port at \[0.5, 0.0, 0.06\] m lies outside the workspace"):
        teaching.add(np.array([0.5, 0.0, 0.048]))
    assert not teaching.finished
    teaching.add(np.array([0.3, 0.0, 0.048]))
    assert teaching.finished


def test_teachings_are_averaged_and_the_seated_depth_is_added() -> None:
    teaching = Teaching(ports=2, repeats=3, tolerance=0.003, depth=0.012)
    assert teaching.prompt.startswith("port 1 of 2, teaching 1 of 3")
    for x in (0.300, 0.301, 0.302):
        said = teaching.add(np.array([x, 0.0, 0.050]))
    assert said == "port 1: mouth at [0.301, 0.0, 0.062] m, spread 1.0 mm"
    for _ in range(3):
        teaching.add(np.array([0.3, 0.044, 0.050]))
    made = teaching.placement("p", ("train", "held_out"))
    assert made.mouths == (pytest.approx((0.301, 0.0, 0.062)), pytest.approx((0.3, 0.044, 0.062)))
    assert made.spread == pytest.approx((0.001, 0.0))
    assert (made.teachings, made.splits) == ((3, 3), ("train", "held_out"))
    with pytest.raises(TeachError, match="all ports are taught already"):
        teaching.add(np.zeros(3))


def test_teachings_that_disagree_are_forgotten_and_taught_again() -> None:
    teaching = Teaching(ports=1, repeats=2, tolerance=0.003, depth=0.0)
    teaching.add(np.array([0.0, 0.0, 0.0]))
    with pytest.raises(TeachError, match=r"up to 5.0 mm from their mean, 3.0 mm would do; it is taught again"):
        teaching.add(np.array([0.010, 0.0, 0.0]))
    with pytest.raises(TeachError, match="0 of 1 ports are taught"):
        teaching.placement("p", ("train",))
    teaching.add(np.array([0.0, 0.0, 0.0]))
    teaching.add(np.array([0.002, 0.0, 0.0]))
    assert teaching.placement("p", ("train",)).mouths == (pytest.approx((0.001, 0.0, 0.0)),)


def test_only_a_tool_at_rest_is_taught() -> None:
    pose = StillPose()
    with pytest.raises(TeachError, match="no new tool_pose comes"):
        pose.take(0.0)
    for step in range(4):
        pose.add(0.25 * step, step, np.array([0.3 + 0.002 * step, 0.0, 0.05]))
    with pytest.raises(TeachError, match="the tool moves"):
        pose.take(1.0)
    for step in range(4, 8):
        pose.add(0.25 * step, step, np.array([0.31, 0.0, 0.05]))
        pose.add(0.25 * step, step, np.array([9.0, 9.0, 9.0]))  # the same stamp again
    assert pose.take(2.0).tolist() == pytest.approx([0.31, 0.0, 0.05])
    with pytest.raises(TeachError, match="no new tool_pose comes"):
        pose.take(6.0)


def test_splits_of_the_simulated_family_are_what_they_were() -> None:
    """A setting of another family must not make other tasks of these."""
    import hashlib
    import json

    from meld_core.tasks import _CELL, _CELL_MARGIN, InsertionTasks

    tasks = InsertionTasks(TaskConfig())
    settings = {k: v for k, v in dataclasses.asdict(TaskConfig()).items() if k not in ("taught", "switch_probability")}
    text = json.dumps([settings, {s: tasks._cells[s] for s in SPLITS}, _CELL, _CELL_MARGIN], sort_keys=True)
    assert tasks.split_hash() == hashlib.sha256(text.encode()).hexdigest()
