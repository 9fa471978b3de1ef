"""DriftWatch: an alarm when a detector's pictures are no longer those that it was made for."""

from __future__ import annotations

import collections

from meld_core.config import RewardConfig

_UNSURE = (0.2, 0.8)
"""Probabilities between these are undecided."""
_UNSURE_FACTOR, _UNSURE_LEAST = 3.0, 0.15
"""Alarm when undecided judgements are this many times as frequent as in training, and at least this share."""


def is_unsure(probability: float) -> bool:
    """Whether a judgement is undecided."""
    return _UNSURE[0] < probability < _UNSURE[1]


class DriftWatch:
    """Compares averages over the last `reward.drift_frames` pictures with those of when the detector was made.

    Args:
        config: Length of the window, and how far the brightness may move.
        brightness: Mean brightness then, of 255; 0 is not watched.
        spread: Its standard deviation then: a detector that was shown many lights is not alarmed by them.
        unsure: Share of undecided judgements then; None is not watched.
    """

    def __init__(
        self, config: RewardConfig, brightness: float = 0.0, spread: float = 0.0, unsure: float | None = None
    ) -> None:
        self._brightness, self._unsure = brightness, unsure
        self._allowed = max(config.drift * brightness, 2.0 * spread)
        self._seen: collections.deque[tuple[float, bool]] = collections.deque(maxlen=config.drift_frames)
        self.alarm = ""
        """One sentence while the alarm lasts."""

    def look(self, brightness: float, probability: float) -> None:
        """Take one picture into account."""
        self._seen.append((brightness, is_unsure(probability)))
        whole = len(self._seen) == self._seen.maxlen
        self.alarm = (self._darker_or_brighter() or self._less_sure()) if whole else ""

    def _darker_or_brighter(self) -> str:
        now = sum(brightness for brightness, _ in self._seen) / len(self._seen)
        if not self._brightness or abs(now - self._brightness) <= self._allowed:
            return ""
        return (
            f"the detector view's brightness is {now:.0f}, it was {self._brightness:.0f} when the detector was made: "
            "has the light or the exposure changed? (reward.drift)"
        )

    def _less_sure(self) -> str:
        now = sum(unsure for _, unsure in self._seen) / len(self._seen)
        if self._unsure is None or now <= max(_UNSURE_FACTOR * self._unsure, _UNSURE_LEAST):
            return ""
        return (
            f"{100 * now:.0f} % of the detector's judgements are undecided, {100 * self._unsure:.0f} % were in "
            "training: collect and train with pictures of how the bench looks now"
        )
