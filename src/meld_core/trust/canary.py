"""Canary: weights act on fixed observations before they may act on anything else."""

from __future__ import annotations

import numpy as np

from meld_core.agent import Agent, ReadyWeights
from meld_core.config import Config
from meld_core.trial import RowFlags
from meld_core.types import Observation, Reward, RobotState
from meld_core.weights import Weights, WeightsError

_ROWS = 3
"""Rows of each of two episodes."""


class Canary:
    """Tries weights out, on an agent of its own."""

    def __init__(self, config: Config, compiled: bool = False) -> None:
        """`compiled`: as `Agent` has it, for whoever acts with what passed."""
        self._agent = Agent(config, compiled)
        self._observations = [_observation(config, row) for row in range(2 * _ROWS)]

    def check(self, weights: Weights) -> ReadyWeights:
        """Try weights. Returns the very networks that were tried, ready to act.

        Raises:
            WeightsError: unless these weights fit and give finite actions within [-1, 1] on every observation.
        """
        ready = self._agent.prepare(weights)
        self._agent.load(ready)
        for greedy in (True, False):
            self._agent.begin_trial(0, greedy)
            previous = np.zeros(3, np.float32)
            for row, observation in enumerate(self._observations):
                self._agent.observe(observation, _flags(row), previous)
                previous = self._agent.act(greedy)
                if not np.isfinite(previous).all() or np.abs(previous).max() > 1.0:
                    raise WeightsError(
                        f"weights version {weights.version} answer {previous.tolist()} to the fixed observation {row}, "
                        "expected finite actions within [-1, 1]: not used"
                    )
        return ready


def _flags(row: int) -> RowFlags:
    episode, step = divmod(row, _ROWS)
    return RowFlags(
        episode=min(episode, 1), step=step, first_in_trial=row == 0, first_in_episode=step == 0,
        terminal=False, truncated=False, last_in_episode=False, last_in_trial=False,
    )  # fmt: skip


def _observation(config: Config, row: int) -> Observation:
    """Black, white and noisy pictures; every kind of reward; a tool within its workspace."""
    random = np.random.default_rng(row)
    height, width = len(config.sim.views) * config.sim.image_size, config.sim.image_size
    pictures = (
        np.zeros((height, width, 3)),
        np.full((height, width, 3), 255),
        random.integers(0, 256, (height, width, 3)),
    )
    rewards = (Reward(0.0, False, 0.0), Reward(1.0, True, 1.0), Reward.missing())
    half = np.array(config.robot.workspace_size) / 2
    state = RobotState(
        joints=np.zeros(6, np.float32),
        velocities=np.zeros(6, np.float32),
        tool_position=(np.array(config.task.box_center) + random.uniform(-half, half)).astype(np.float32),
        tool_orientation=np.array([0, 0, 0, 1], np.float32),
        stamp=row + 1,
    )
    return Observation(pictures[row % 3].astype(np.uint8), state, rewards[row % 3], row + 1)
