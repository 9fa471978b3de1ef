"""Reward detectors: whether a stamp was a success, judged from what a bench can see.

A detector is called once per stamp, in order; it looks back only. Its judgement belongs to the stamp it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import cv2
import numpy as np

from meld_core.config import ConfigError, RewardConfig, did_you_mean
from meld_core.detectors.drift import DriftWatch
from meld_core.detectors.picture import PictureDetector
from meld_core.tasks import Task
from meld_core.types import Frame, Reward, RobotState


class RewardDetector(Protocol):
    """Judges one stamp."""

    @property
    def alarm(self) -> str:
        """Why its judgements deserve doubt, one sentence; '' where nothing is known."""

    @property
    def needs_state(self) -> bool:
        """Whether it looks at the robot's state instead of pictures."""

    def __call__(self, frames: Mapping[str, Frame], state: RobotState | None) -> Reward:
        """The reward at this stamp; `Reward.missing()` where no judgement is possible."""

    def set_task(self, task: Task) -> None:
        """Another task stands on the bench. Only a detector that was taught its goals looks at it."""

    def reset(self) -> None:
        """Forget earlier stamps: a new episode begins."""


class LedDetector(PictureDetector):
    """Success is a lit link LED: enough pixels of its colour in a region of the detector view."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config, DriftWatch(config, config.brightness))
        self._lower, self._upper = np.array(config.hsv_lower), np.array(config.hsv_upper)

    def judge(self, pixels: np.ndarray) -> tuple[bool, float]:
        """See `PictureDetector`. Raises ConfigError if the region does not lie inside the view."""
        lit = self.lit_pixels(pixels)
        return lit >= self._config.min_pixels, min(1.0, 0.5 * lit / self._config.min_pixels)

    def lit_pixels(self, pixels: np.ndarray) -> int:
        """Pixels of the LED's colour in the region; (H, W, 3) uint8 RGB → count."""
        x, y, width, height = self._config.region
        if width < 1 or height < 1 or y + height > pixels.shape[0] or x + width > pixels.shape[1]:
            raise ConfigError(
                f"reward.region {list(self._config.region)} (x, y, width, height) does not fit the detector view "
                f"of {pixels.shape[1]} x {pixels.shape[0]} px; change it or sim.detector_size"
            )
        hsv = cv2.cvtColor(np.ascontiguousarray(pixels[y : y + height, x : x + width]), cv2.COLOR_RGB2HSV)
        return int(cv2.countNonZero(cv2.inRange(hsv, self._lower, self._upper)))


def _pose(config: RewardConfig) -> RewardDetector:
    from meld_core.detectors.pose import PoseDetector

    return PoseDetector(config)


def _classifier(config: RewardConfig) -> RewardDetector:
    from meld_core.detectors.classifier import ClassifierDetector  # torch, which the other detectors do without

    return ClassifierDetector(config)


DETECTORS: dict[str, Callable[[RewardConfig], RewardDetector]] = {
    "led": LedDetector,
    "pose": _pose,
    "classifier": _classifier,
}


def make_detector(config: RewardConfig) -> RewardDetector:
    """The detector of a config. Raises ConfigError on an unknown kind, and where it lacks what its kind needs."""
    if config.kind not in DETECTORS:
        raise ConfigError(
            f"unknown reward detector '{config.kind}'{did_you_mean(config.kind, DETECTORS)} [setting: reward.kind]"
        )
    return DETECTORS[config.kind](config)
