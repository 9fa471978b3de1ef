"""How the simulated arm is moved: ramps of joint targets."""

from __future__ import annotations

import math

import numpy as np

from meld_core.config import Config

SLICE = 0.010
"""Joint targets move along their ramp in steps of this length [s]."""


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
