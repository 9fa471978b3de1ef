"""ClassifierDetector: success is what a trained network takes for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meld_core.config import ConfigError, RewardConfig
from meld_core.detectors.drift import DriftWatch
from meld_core.detectors.net import load_classifier
from meld_core.detectors.picture import PictureDetector


class ClassifierDetector(PictureDetector):
    """Judges by the network in `reward.weights`, with `reward.threshold` or the one that was chosen in training."""

    def __init__(self, config: RewardConfig) -> None:
        """Raises ConfigError without a file, ClassifierError where it cannot be used."""
        if not config.weights:
            raise ConfigError("reward.kind=classifier needs reward.weights: a file that `meld reward train` wrote")
        self._classifier = load_classifier(Path(config.weights))
        facts = self._classifier.facts
        self._threshold = config.threshold or facts.threshold
        super().__init__(config, DriftWatch(config, facts.brightness, facts.brightness_spread, facts.unsure))

    def judge(self, pixels: np.ndarray) -> tuple[bool, float]:
        """See `PictureDetector`."""
        probability = float(self._classifier.probabilities(pixels[None])[0])
        return probability >= self._threshold, probability
