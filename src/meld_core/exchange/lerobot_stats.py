"""Statistics of one feature, as LeRobot keeps them: per number, or per colour of a picture scaled to [0, 1]."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of one feature; two of them add up. What is NaN (a reward that nobody judged) is left out; NaN without any."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    """Sum of squared deviations from the mean."""
    known: np.ndarray
    """Numbers that are not NaN."""
    count: int
    """Frames."""
    image: bool = False

    @staticmethod
    def of(values: np.ndarray, *, image: bool = False) -> Statistics:
        """Of (T, ...) values; of (T, H, W, 3) pictures where `image`."""
        frames = len(values)
        flat = values.reshape(-1, 3).astype(np.float64) / 255.0 if image else values.reshape(frames, -1).astype(float)
        known = ~np.isnan(flat)
        number = known.sum(axis=0)
        mean = np.where(known, flat, 0.0).sum(axis=0) / np.maximum(1, number)
        spread = np.where(known, flat - mean, 0.0) ** 2
        low, high = np.where(known, flat, np.inf).min(axis=0), np.where(known, flat, -np.inf).max(axis=0)
        return Statistics(low, high, mean, spread.sum(axis=0), number, frames, image)

    def __add__(self, other: Statistics) -> Statistics:
        """Chan, Golub and LeVeque's way to add variances, which loses no digits to large means."""
        known = self.known + other.known
        share, step = other.known / np.maximum(1, known), other.mean - self.mean
        spread = self.spread + other.spread + step**2 * self.known * share
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Statistics(low, high, self.mean + step * share, spread, known, self.count + other.count, self.image)

    def to_json(self) -> dict[str, list[object]]:
        """min, max, mean, std [(n,), or (3, 1, 1) of a picture] and count [(1,)]; null where nothing is known."""
        std = np.sqrt(self.spread / np.maximum(1, self.known))
        named = {"min": self.low, "max": self.high, "mean": self.mean, "std": std}
        return {**{name: self._listed(values) for name, values in named.items()}, "count": [self.count]}

    def _listed(self, values: np.ndarray) -> list[object]:
        numbers = [float(value) if known else None for value, known in zip(values, self.known, strict=True)]
        return [[[number]] for number in numbers] if self.image else list(numbers)
