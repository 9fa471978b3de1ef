"""Histogram: how long things took, in bounded memory, however many there were."""

from __future__ import annotations

import bisect
import math

_PER_OCTAVE = 8
_LEAST, _MOST = 1e-5, 100.0
"""Shortest and longest time that is told apart [s]."""
EDGES = [_LEAST * 2 ** (i / _PER_OCTAVE) for i in range(math.ceil(_PER_OCTAVE * math.log2(_MOST / _LEAST)) + 1)]
"""Upper edges of the bins [s]: each 9 % above the one before."""


class Histogram:
    """Counts of durations [s] in bins whose width is 9 % of their value."""

    def __init__(self) -> None:
        self._counts = [0] * (len(EDGES) + 1)
        self.count, self.longest = 0, 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect.bisect_left(EDGES, seconds)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def quantile(self, share: float) -> float:
        """Upper edge of the bin in which that share of all durations is reached, never above the longest [s]."""
        wanted, seen = share * self.count, 0
        for edge, count in zip([*EDGES, math.inf], self._counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return min(edge, self.longest)
        return 0.0

    def summary(self) -> dict[str, float]:
        """p50, p95, p99 and max [ms]."""
        values = {f"p{round(100 * share)}": self.quantile(share) for share in (0.5, 0.95, 0.99)}
        return {name: 1e3 * seconds for name, seconds in (values | {"max": self.longest}).items()}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in self.summary().items())
