"""The reward detector that judges by the tool's place: taught goals, and the live port of the task."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from meld_core.config import Config, ConfigError, RewardConfig
from meld_core.detectors.pose import PoseDetector
from meld_core.rewards import make_detector
from meld_core.task_families import make_tasks
from meld_core.types import Reward, RobotState


def at(position: tuple[float, float, float]) -> RobotState:
    return RobotState(np.zeros(6), np.zeros(6), np.array(position), np.array([0.0, 0.0, 0.0, 1.0]), 1)


def test_the_pose_detector_knows_taught_goals(tmp_path: Path) -> None:
    path = tmp_path / "goals.yaml"
    path.write_text("goals:\n- [0.3, 0.0, 0.05]\n- [0.3, 0.04, 0.05]\n")
    detector = make_detector(RewardConfig(kind="pose", goals=str(path), goal_tolerance=0.005, debounce=2))
    assert detector.needs_state
    near, far = (0.3, 0.036, 0.05), (0.3, 0.02, 0.05)
    rewards = [detector({}, at(place)) for place in (near, near, far, near)]
    assert [reward.success for reward in rewards] == [False, True, False, False]
    assert rewards[0].probability == pytest.approx(1 / (1 + 0.8**4))
    assert rewards[2].probability == pytest.approx(1 / (1 + 4.0**4))
    assert detector({}, None) == Reward.missing() or not detector({}, None).valid


def test_the_pose_detector_follows_the_live_port_of_the_task() -> None:
    config = dataclasses.replace(Config().task, switch_probability=1.0)
    task = make_tasks(config).sample("train", 0)
    detector = PoseDetector(RewardConfig(kind="pose"))
    assert not detector({}, at(task.ports[0])).valid
    detector.set_task(task)
    for episode in range(2):
        detector.reset()
        seat = [(x, y, z - 0.012) for x, y, z in task.ports]
        judged = [detector({}, at(place)).success for place in seat]
        assert judged == [port == task.live_in(episode) for port in range(3)]
    assert task.live_in(0) != task.live_in(1)


@pytest.mark.parametrize("text", ["goals: []", "goals: [[1, 2]]", "goals: x", "a: 1", "goals: [[.nan, 0, 0]]"])
def test_a_file_without_goals_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "goals.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"must hold 'goals: \[\[x, y, z\], \.\.\.\]' in metres"):
        make_detector(RewardConfig(kind="pose", goals=str(path)))
