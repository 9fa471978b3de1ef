"""Histogram: how long things took, in bounded memory, however many there were."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable

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


class StepTimes:
    """Where the time of a step goes, as the policy sees it, by its own steady clock: no clocks need to agree.

    join: first to last message of the step · infer: from there to the command · gate: from the command to the word of
    what was executed (in lockstep with the simulation of the step) · step: all of it. A message that comes again, or
    for another step, changes nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stamp, self._first, self._last, self._commanded = -1, 0.0, 0.0, 0.0
        self._over = False
        self.stages = {name: Histogram() for name in ("join", "infer", "gate", "step")}

    def part(self, stamp: int) -> None:
        """A message of the step with this stamp came."""
        now = self._clock()
        if stamp > self._stamp:
            self._stamp, self._first, self._commanded, self._over = stamp, now, 0.0, False
        if stamp == self._stamp and not self._commanded:
            self._last = now

    def commanded(self, stamp: int) -> None:
        """Its command was sent."""
        if stamp == self._stamp and not self._commanded:
            self._commanded = self._clock()
            self.stages["join"].add(self._last - self._first)
            self.stages["infer"].add(self._commanded - self._last)

    def executed(self, stamp: int) -> None:
        """What was executed is known."""
        if stamp == self._stamp and self._commanded and not self._over:
            now = self._clock()
            self.stages["gate"].add(now - self._commanded)
            self.stages["step"].add(now - self._first)
            self._over = True

    def values(self) -> dict[str, str]:
        """For a person: each stage's quantiles."""
        return {f"{name} [ms]": str(histogram) for name, histogram in self.stages.items()}
