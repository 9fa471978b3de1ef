"""SuccessGuard: notices that the policy has lost what it could do.

A function of the trials alone, in the order of their indices: a resumed run comes to the same verdicts at the same
trials, and so do a fast and a slow machine, one process and the graph.
"""

from __future__ import annotations

import collections

import numpy as np

from meld_core.sections.storage import RollbackConfig
from meld_core.types import Source, Trial


class SuccessGuard:
    """Averages the success of policy trials over a window and remembers when it was at its best."""

    def __init__(self, config: RollbackConfig) -> None:
        self._config = config
        self._window: collections.deque[float] = collections.deque(maxlen=max(1, config.window))
        self._since = 0
        self._best = 0.0
        self.best_at = -1
        """Index of the newest trial at which the average was at its best; -1 before the window was full."""

    def add(self, trial: Trial) -> None:
        """Count a trial; only whole ones of a policy that is not older than the last roll-back count."""
        meta = trial.meta
        by_policy = bool((trial.rows["source"] == Source.POLICY).any())
        if not self._config.window or meta.aborted or not by_policy or meta.weights_version < self._since:
            return
        self._window.append(success_of(trial))
        if len(self._window) == self._config.window and self._average() >= self._best:
            self._best, self.best_at = self._average(), meta.id.counter

    def _average(self) -> float:
        return sum(self._window) / len(self._window)

    def verdict(self) -> str:
        """Why to go back, in one sentence; "" for no reason to."""
        if not self._window or len(self._window) < self._config.window:
            return ""
        if self._average() >= self._best - self._config.drop:
            return ""
        return (
            f"success over the last {len(self._window)} policy trials fell to {self._average():.2f} from "
            f"{self._best:.2f} at trial {self.best_at} (rollback.drop {self._config.drop:g})"
        )

    def start_again(self, version: int) -> None:
        """After a roll-back: only trials that acted with weights of this version or newer count from now on."""
        self._window.clear()
        self._since, self._best = version, 0.0


def success_of(trial: Trial) -> float:
    """Share of the episodes in which the reward detector saw a success."""
    seen = trial.rows["success"] & trial.rows["reward_valid"]
    return float(np.mean([seen[rows].any() for rows in trial.episodes()]))
