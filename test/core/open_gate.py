"""An open MotionGate over a robot that obeys at once, and a clock that the test moves."""

from __future__ import annotations

import numpy as np
from fake_robot import FakeRobot

from meld_core.config import GateConfig, RobotConfig
from meld_core.robot import MotionGate

MS = 1_000_000
ME, OTHER = "policy", "somebody else"


class Clock:
    """A steady clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def action(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def make(mode: str = "lockstep", **gate: float) -> tuple[MotionGate, FakeRobot, Clock]:
    """An open gate over a robot at (0.30, 0, 0.07) in the box (0.24..0.36, -0.1..0.1, 0.045..0.095) m."""
    robot, clock = FakeRobot(), Clock()
    motion = MotionGate(robot, GateConfig(**gate), RobotConfig(mode=mode), clock)
    motion.reset()
    return motion, robot, clock
