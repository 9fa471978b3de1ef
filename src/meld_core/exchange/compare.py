"""Comparison: an agent acts on recorded observations again, and its actions are compared with the recorded ones.

Beliefs are filtered from what was recorded, the executed actions included: one deviation does not lead to others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from meld_core.agent import Agent
from meld_core.config import Config
from meld_core.driver import Label
from meld_core.exchange.rebuild import Rebuilder
from meld_core.exchange.recorded import RecordedTrial, Recording
from meld_core.exchange.steps import IncompleteError
from meld_core.storage.trial_file import TrialError
from meld_core.types import Source
from meld_core.weights import Weights


@dataclasses.dataclass(frozen=True)
class Compared:
    """One trial."""

    trial: int
    source: str
    """policy, script or random: who acted."""
    weights_version: int
    deviations: tuple[float, ...]
    """Per step the largest deviation of an action's components."""
    first: tuple[int, int] | None
    """Episode and step of the first deviation above the tolerance."""
    reason: str = ""
    """Why it could not be compared."""

    def to_json(self) -> dict[str, Any]:
        """Figures for a file."""
        known = self.deviations
        return {
            "trial": self.trial, "source": self.source, "weights_version": self.weights_version, "steps": len(known),
            "max_deviation": max(known, default=None), "mean_deviation": float(np.mean(known)) if known else None,
            "first_differing": self.first, "reason": self.reason,
        }  # fmt: skip


class Comparison:
    """Compares every trial of a recording.

    Args:
        config: Of the run that was recorded.
        recording: Where the trials come from.
        weights: Act with these; None for the ones that the recording holds.
        tolerance: Largest deviation that is called equal.
    """

    def __init__(self, config: Config, recording: Recording, weights: Weights | None, tolerance: float) -> None:
        self._recording, self._tolerance = recording, tolerance
        self._agent = FixedAgent(config, weights) if weights is not None else Agent(config)
        self._rebuilder = Rebuilder(config, self._agent, recording, self._take, weights, always=weights is not None)
        self._found: list[tuple[int, float]] = []

    def run(self, on_trial: Callable[[], None] = lambda: None) -> Iterator[Compared]:
        """One result per recorded trial."""
        for recorded in self._recording.read():
            yield self._compare(recorded)
            on_trial()

    def _take(self, episode: int, computed: np.ndarray, recorded: np.ndarray) -> None:
        self._found.append((episode, float(np.abs(computed.astype(float) - recorded.astype(float)).max())))

    def _compare(self, recorded: RecordedTrial) -> Compared:
        self._found = []
        source, version, reason = "", -1, ""
        try:
            trial = self._rebuilder.rebuild(recorded)
            if trial is not None:
                source = Source(int(trial.rows["source"][0])).name.lower()
                version = trial.meta.weights_version
        except (IncompleteError, TrialError) as error:
            reason = str(error)
        deviations = tuple(deviation for _, deviation in self._found)
        return Compared(recorded.key.trial, source, version, deviations, self._first(), reason)

    def _first(self) -> tuple[int, int] | None:
        episodes = [episode for episode, _ in self._found]
        for number, (episode, deviation) in enumerate(self._found):
            if not deviation <= self._tolerance:
                return episode, number - episodes.index(episode)
        return None


class FixedAgent(Agent):
    """Acts with one set of weights, whatever acted then."""

    def __init__(self, config: Config, weights: Weights) -> None:
        super().__init__(config)
        super().load(weights)

    def load(self, weights: Label) -> None:
        """Nothing changes but the belief: `weights` are those that acted then."""
        self.forget()
