"""Reward detectors: whether a stamp was a success, judged from what a bench can see.

A detector is called once per stamp, in order; it looks back only. Its judgement belongs to the stamp it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import cv2
import numpy as np

from meld_core.config import ConfigError, RewardConfig, did_you_mean
from meld_core.types import Frame, Reward, RobotState


class RewardDetector(Protocol):
    """Judges one stamp."""

    def __call__(self, frames: Mapping[str, Frame], state: RobotState | None) -> Reward:
        """The reward at this stamp; `Reward.missing()` where no judgement is possible."""

    def reset(self) -> None:
        """Forget earlier stamps: a new episode begins."""


class LedDetector:
    """Success is a lit link LED: enough pixels of its colour in a region of the detector view."""

    def __init__(self, config: RewardConfig) -> None:
        self._config = config
        self._lower, self._upper = np.array(config.hsv_lower), np.array(config.hsv_upper)
        self._agreeing = 0

    def __call__(self, frames: Mapping[str, Frame], state: RobotState | None = None) -> Reward:
        """Judge the frame named `detector`.

        A missing or dark view gives `Reward.missing()` and breaks a row of agreeing frames.

        Raises:
            ConfigError: if the region does not lie inside the view.
        """
        frame = frames.get("detector")
        if frame is None or frame.pixels.mean() < self._config.min_brightness:
            self._agreeing = 0
            return Reward.missing()
        lit = self.lit_pixels(frame.pixels)
        self._agreeing = self._agreeing + 1 if lit >= self._config.min_pixels else 0
        success = self._agreeing >= self._config.debounce
        probability = min(1.0, 0.5 * lit / self._config.min_pixels)
        return Reward(reward=float(success), success=success, probability=probability)

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

    def reset(self) -> None:
        """Forget earlier frames."""
        self._agreeing = 0


DETECTORS: dict[str, Callable[[RewardConfig], RewardDetector]] = {"led": LedDetector}


def make_detector(config: RewardConfig) -> RewardDetector:
    """The detector of a config. Raises ConfigError on an unknown kind."""
    if config.kind not in DETECTORS:
        raise ConfigError(
            f"unknown reward detector '{config.kind}'{did_you_mean(config.kind, DETECTORS)} [setting: reward.kind]"
        )
    return DETECTORS[config.kind](config)
