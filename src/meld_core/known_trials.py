"""The trials that a learner may draw: demonstrations and its own, converted when they are first drawn."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from meld_core.batch import LearnerTrial, learner_trial
from meld_core.config import Config
from meld_core.types import Trial


class KnownTrial:
    """One trial. A run that goes on knows thousands at once, and needs few of them for its first update."""

    def __init__(self, trial: Trial, config: Config) -> None:
        self._trial, self._config = trial, config
        self.demonstration = bool(trial.demonstrated.any())

    @functools.cached_property
    def converted(self) -> LearnerTrial:
        """What the learner sees of it. Raises ValueError as `learner_trial`."""
        return learner_trial(self._trial, self._config)


class KnownTrials:
    """All trials that were taken in, in the order in which they were."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._demonstrations: list[KnownTrial] = []
        self._own: list[KnownTrial] = []

    def __len__(self) -> int:
        return len(self._demonstrations) + len(self._own)

    def add(self, trial: Trial) -> None:
        """Take in a recorded trial."""
        known = KnownTrial(trial, self._config)
        (self._demonstrations if known.demonstration else self._own).append(known)

    def draw(self, count: int, rng: np.random.Generator) -> Iterator[LearnerTrial]:
        """With replacement; `learner.demonstration_share` of them demonstrations, where there are both.

        One number is drawn for each when it is asked for: whoever takes them may draw others in between.
        """
        own = self._own or self._demonstrations
        share = self._config.learner.demonstration_share if self._demonstrations else 0.0
        pools = [self._demonstrations if i < round(share * count) else own for i in range(count)]
        for pool in pools:
            yield pool[rng.integers(len(pool))].converted
