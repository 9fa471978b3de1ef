"""Trend: does something grow? A straight line through block means, with an interval that neighbours do not narrow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

BLOCKS = 12
"""Neighbouring samples resemble each other; means of so few blocks hardly do."""
_T_975 = 2.228
"""Student's t for 95 % and BLOCKS - 2 degrees of freedom."""


@dataclasses.dataclass(frozen=True)
class Trend:
    """A slope per unit of time, and where it lies with 95 %."""

    slope: float
    low: float
    high: float


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Least squares through the means of BLOCKS blocks of equal duration.

    Args:
        times: Rising; at least a few in every block.
        values: As many.

    Raises:
        ValueError: where a block is empty.
    """
    t, y = np.asarray(times, np.float64), np.asarray(values, np.float64)
    block = np.minimum(((t - t[0]) / (t[-1] - t[0]) * BLOCKS).astype(int), BLOCKS - 1)
    if len(np.unique(block)) < BLOCKS:
        raise ValueError(f"{len(t)} samples leave one of {BLOCKS} blocks empty")
    mt = np.array([t[block == i].mean() for i in range(BLOCKS)])
    my = np.array([y[block == i].mean() for i in range(BLOCKS)])
    spread = float(((mt - mt.mean()) ** 2).sum())
    slope = float(((mt - mt.mean()) * (my - my.mean())).sum()) / spread
    residual = my - my.mean() - slope * (mt - mt.mean())
    half = _T_975 * math.sqrt(float((residual**2).sum()) / (BLOCKS - 2) / spread)
    return Trend(slope, slope - half, slope + half)


def rises(values: Sequence[float]) -> bool:
    """Whether a count has moved up for good: the least of the last quarter lies above the most of the first."""
    quarter = max(1, len(values) // 4)
    return min(values[-quarter:]) > max(values[:quarter])
