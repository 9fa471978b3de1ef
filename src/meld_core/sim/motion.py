"""How the simulated arm is moved: ramps of joint targets, and whether it reaches its workspace."""

from __future__ import annotations

import math

import numpy as np

from meld_core.config import Config, ConfigError
from meld_core.kinematics import ArmKinematics, KinematicsError
from meld_core.sim.arm import POINTING_DOWN
from meld_core.types import Limits

SLICE = 0.010
"""Joint targets move along their ramp in steps of this length [s]."""
RAMP_PEAK = math.pi / 2
"""Largest speed of half a cosine, over its mean."""


class Ramp:
    """Joint targets go from where they are to a goal within one control period, by half a cosine.

    A straight ramp ends at full speed and leaves the arm 15 % short; this one 5-10 %, at a third less joint speed.
    """

    def __init__(self, config: Config) -> None:
        self._slice = max(1, round(SLICE / config.sim.timestep))
        self._total = max(1, round(config.robot.control_period / config.sim.timestep))
        self._start, self._done = np.zeros(0), self._total

    def begin(self, start: np.ndarray) -> None:
        """From these joints (J,) [rad]."""
        self._start, self._done = start.copy(), 0

    @property
    def over(self) -> bool:
        """Whether the goal is reached."""
        return self._done == self._total

    def slide(self, target: np.ndarray, goal: np.ndarray) -> int:
        """Move `target` (J,) [rad] by one slice; at the goal it stays. Returns the physics steps of the slice."""
        if self.over:
            return self._slice
        count = min(self._slice, self._total - self._done)
        self._done += count
        share = 0.5 - 0.5 * math.cos(math.pi * self._done / self._total)
        target[:] = self._start + (goal - self._start) * share
        return count


def check_reach(kinematics: ArmKinematics, limits: Limits) -> None:
    """Raise ConfigError naming a corner of the workspace that the tool, pointing down, cannot reach."""
    lower, upper = limits.workspace_lower, limits.workspace_upper
    for corner in np.ndindex(2, 2, 2):
        try:
            kinematics.inverse(np.where(corner, upper, lower), np.array(POINTING_DOWN))
        except KinematicsError:
            raise ConfigError(
                f"the arm cannot reach the workspace corner {np.where(corner, upper, lower).round(3).tolist()} m "
                f"with its tool pointing down [settings: task.box_center, robot.workspace_size]"
            ) from None
