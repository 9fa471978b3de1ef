"""PictureDetector: what detectors that look at a picture share."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import numpy as np

from meld_core.config import RewardConfig
from meld_core.detectors.drift import DriftWatch
from meld_core.tasks import Task
from meld_core.types import Frame, Reward, RobotState


class PictureDetector(abc.ABC):
    """What all detectors that look at the frame named `detector` share.

    A missing or dark view gives `Reward.missing()` and breaks a row of agreeing frames.
    """

    needs_state = False

    def __init__(self, config: RewardConfig, drift: DriftWatch) -> None:
        self._config, self._drift = config, drift
        self._agreeing = 0

    @property
    def alarm(self) -> str:
        """See `rewards.RewardDetector`."""
        return self._drift.alarm

    def __call__(self, frames: Mapping[str, Frame], state: RobotState | None = None) -> Reward:
        """Judge the frame named `detector`."""
        frame = frames.get("detector")
        brightness = 0.0 if frame is None else float(frame.pixels.mean())
        if frame is None or brightness < self._config.min_brightness:
            self._agreeing = 0
            return Reward.missing()
        agrees, probability = self.judge(frame.pixels)
        self._drift.look(brightness, probability)
        self._agreeing = self._agreeing + 1 if agrees else 0
        success = self._agreeing >= self._config.debounce
        return Reward(reward=float(success), success=success, probability=probability)

    @abc.abstractmethod
    def judge(self, pixels: np.ndarray) -> tuple[bool, float]:
        """(H, W, 3) uint8 RGB → whether it shows a success, and how probably. Other pictures are not considered."""

    def set_task(self, task: Task) -> None:
        """Pictures tell whatever the task."""
        del task

    def reset(self) -> None:
        """Forget earlier frames. What is known of the light stays known."""
        self._agreeing = 0
