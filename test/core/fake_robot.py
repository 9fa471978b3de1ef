"""A robot that obeys at once: position is the integral of what was applied."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meld_core.tasks import Task
from meld_core.types import Limits, RobotState

PERIOD = 250_000_000


class FakeRobot:
    """Implements robot.Robot; counts what it is asked to do."""

    limits = Limits(
        joint_names=("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate"),
        joint_lower=np.full(6, -3.1),
        joint_upper=np.full(6, 3.1),
        joint_velocity=np.full(6, 3.1),
        workspace_lower=np.array([0.24, -0.10, 0.045]),
        workspace_upper=np.array([0.36, 0.10, 0.095]),
        step_size=0.020,
        control_period=0.25,
    )

    def __init__(self) -> None:
        self.position = np.array([0.30, 0.0, 0.07])
        self.joints = np.zeros(6)
        self.stamp = 10 * PERIOD
        self.applied: list[np.ndarray] = []
        self.holds = 0
        self.begun: list[bool] = []
        self.parked = 0
        self.fails = ""
        self.during_reset: Callable[[], None] = lambda: None

    def connect(self) -> None:
        """Nothing to open."""

    def set_task(self, task: Task) -> None:
        """Nothing to prepare."""

    def reset(self) -> None:
        self.during_reset()
        self.stamp += PERIOD

    def begin_here(self, episode: bool) -> None:
        self.begun.append(episode)
        self.stamp += PERIOD

    def park(self) -> None:
        self.parked += 1
        self.stamp += PERIOD

    def observe(self) -> RobotState:
        return RobotState(self.joints.copy(), np.zeros(6), self.position.copy(), np.array([0.0, 0, 0, 1]), self.stamp)

    def apply(self, action: np.ndarray) -> np.ndarray:
        if self.fails:
            raise RuntimeError(self.fails)
        self.applied.append(action)
        self.position = self.position + action.astype(np.float64) * self.limits.step_size
        return action

    def wait(self) -> None:
        self.stamp += PERIOD

    def hold(self) -> None:
        self.holds += 1

    def close(self, park: bool = True) -> None:
        """Nothing to let go of."""
