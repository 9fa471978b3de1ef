"""MemorySink: a trial's closed episodes in memory only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from meld_core.types import Trial, TrialMeta


class MemorySink:
    """Keeps the open trial in memory; for trials that nobody learns from, or that are stored as a whole."""

    def __init__(self) -> None:
        self._episodes: list[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]] = []

    def add_episode(
        self, meta: TrialMeta, episode: int, rows: Mapping[str, np.ndarray], extras: Mapping[str, np.ndarray]
    ) -> None:
        """Keep one closed episode."""
        self._episodes.append((rows, extras))

    def close_trial(self, meta: TrialMeta) -> Trial | None:
        """Join the closed episodes; None where there are none."""
        episodes, self._episodes = self._episodes, []
        if not episodes:
            return None
        rows, extras = ({k: np.concatenate([e[i][k] for e in episodes]) for k in episodes[0][i]} for i in (0, 1))
        return Trial(meta, rows, extras)

    def note(self, event: str, **facts: Any) -> None:
        """Nothing is kept."""
