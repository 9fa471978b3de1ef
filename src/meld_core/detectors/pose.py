"""PoseDetector: success is the tool at a taught goal. For benches that give no other sign of success."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from meld_core.config import ConfigError, RewardConfig, read_yaml
from meld_core.tasks import Task
from meld_core.types import Frame, Reward, RobotState


class PoseDetector:
    """Success is the tool's tip within `reward.goal_tolerance` of a goal, `reward.debounce` stamps in a row.

    Goals are those of the file `reward.goals` (`goals: [[x, y, z], ...]`, [m] in base_link); without a file, the live
    port of the announced task, where the tip of a seated plug is `reward.goal_depth` below the mouth.
    """

    needs_state = True
    alarm = ""

    def __init__(self, config: RewardConfig) -> None:
        """Raises ConfigError where the file of goals cannot be used."""
        self._config = config
        self._taught = read_goals(Path(config.goals)) if config.goals else None
        self._task: Task | None = None
        self._episode = -1
        self._agreeing = 0

    def set_task(self, task: Task) -> None:
        """Goals move with the task where none were taught."""
        if task != self._task:
            self._task, self._episode = task, -1

    def reset(self) -> None:
        """A new episode, in which another port may be live."""
        self._episode += 1
        self._agreeing = 0

    def __call__(self, frames: Mapping[str, Frame], state: RobotState | None) -> Reward:
        """Judge the tool's position; without it, or without any goal, there is no judgement."""
        goals = self._goals()
        if state is None or goals is None:
            self._agreeing = 0
            return Reward.missing()
        distance = float(np.linalg.norm(goals - state.tool_position, axis=1).min())
        tolerance = self._config.goal_tolerance
        self._agreeing = self._agreeing + 1 if distance <= tolerance else 0
        success = self._agreeing >= self._config.debounce
        return Reward(float(success), success, probability=1.0 / (1.0 + (distance / tolerance) ** 4))

    def _goals(self) -> np.ndarray | None:
        """(G, 3) [m], where the tip must be."""
        if self._taught is not None or self._task is None:
            return self._taught
        port = self._task.ports[self._task.live_in(max(0, self._episode))]
        return np.array([port]) - np.array([0.0, 0.0, self._config.goal_depth])


def read_goals(path: Path) -> np.ndarray:
    """(G, 3) float64 [m] in base_link. Raises ConfigError where the file holds none."""
    raw = read_yaml(path).get("goals")
    try:
        goals = np.array(raw, np.float64)
    except (TypeError, ValueError):
        goals = np.empty(0)
    if goals.ndim != 2 or goals.shape[1] != 3 or not np.isfinite(goals).all():
        raise ConfigError(f"{path} must hold 'goals: [[x, y, z], ...]' in metres, got {str(raw)[:80]} [reward.goals]")
    return goals
