"""Intervals for rates: Wilson's for one rate, Newcombe's for the difference of two rates on the same tasks."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

Z95 = 1.959964
"""Two-sided 95 % quantile of the standard normal."""


def effective_size(values: Sequence[float], tasks: Sequence[Hashable]) -> float:
    """How many trials on as many tasks would tell as much as these, several of which may be on one task.

    Seeds that are evaluated on the same tasks agree on many of them. The size is n over the design effect: the variance
    of the mean between tasks over that of independent trials (Kish 1965; put into an interval for rates as by Korn and
    Graubard, Survey Methodology 24, 1998). From the number of tasks, which it is where no value differs, to n.

    Args:
        values: Of n trials.
        tasks: Which task each trial was on.
    """
    n, mean = len(values), sum(values) / len(values)
    off: dict[Hashable, float] = defaultdict(float)
    for value, task in zip(values, tasks, strict=True):
        off[task] += value - mean
    count = len(off)
    variance = sum((value - mean) ** 2 for value in values) / n
    if variance == 0.0 or count == 1:
        return float(count)
    between = sum(total * total for total in off.values()) * count / (count - 1) / n**2
    return float(n) if between * n <= variance else max(variance / between, float(count))


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a rate (Wilson, JASA 1927); (0, 1) where nothing was tried. `n` may be effective.

    Raises:
        ValueError: unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials are impossible; need 0 <= successes <= trials")
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    scale = 1.0 + z * z / n
    middle = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == n else middle + half
    return low, high


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """How much more often `ours` succeeded than `control` on the same tasks."""

    both: int
    only_ours: int
    only_control: int
    neither: int
    difference: float
    """Rate of ours minus rate of the control."""
    interval95: tuple[float, float]
    """Newcombe's square-and-add interval for paired rates (Statistics in Medicine 17, 1998, method 10)."""
    mcnemar_p: float
    """Exact two-sided McNemar test: binomial on the tasks on which the two differ."""
    wilson_apart: bool
    """The Wilson intervals of the two rates do not overlap, ours being the higher."""

    @property
    def excludes(self) -> bool:
        """Ours is better: the paired interval lies above 0 and the Wilson intervals do not overlap."""
        return self.interval95[0] > 0.0 and self.wilson_apart


def paired_difference(
    ours: Sequence[bool], control: Sequence[bool], z: float = Z95, tasks: Sequence[Hashable] | None = None
) -> PairedDifference:
    """Compare two series of outcomes; element i of both belongs to one trial.

    Args:
        ours: Outcomes.
        control: Outcomes on the same trials.
        z: Quantile.
        tasks: Which task each trial was on, where several were on one: the interval is that of the effective size.

    Raises:
        ValueError: where the series are empty or of unequal length.
    """
    if len(ours) != len(control) or not ours:
        raise ValueError(f"paired series need the same tasks, got {len(ours)} and {len(control)} outcomes")
    pairs = list(zip(map(bool, ours), map(bool, control), strict=True))
    both, only_ours = pairs.count((True, True)), pairs.count((True, False))
    only_control, neither = pairs.count((False, True)), pairs.count((False, False))
    n = len(pairs)
    differences = [float(a) - float(b) for a, b in pairs]
    share = effective_size(differences, tasks) / n if tasks is not None else 1.0
    low_ours, _ = wilson(both + only_ours, n, z)
    _, high_control = wilson(both + only_control, n, z)
    return PairedDifference(
        both=both,
        only_ours=only_ours,
        only_control=only_control,
        neither=neither,
        difference=(only_ours - only_control) / n,
        interval95=_newcombe(both * share, only_ours * share, only_control * share, neither * share, z),
        mcnemar_p=_mcnemar(only_ours, only_control),
        wilson_apart=low_ours > high_control,
    )


def independent_difference(
    ours: tuple[float, float], other: tuple[float, float], z: float = Z95
) -> tuple[float, tuple[float, float]]:
    """Difference of two rates on different tasks, and its interval.

    Newcombe's square-and-add interval (Statistics in Medicine 17, 1998, 873-890, method 10).

    Args:
        ours: (successes, trials), effective ones where several trials were on one task.
        other: The same, to be subtracted.
        z: Quantile.

    Raises:
        ValueError: where nothing was tried.
    """
    if not ours[1] or not other[1]:
        raise ValueError(f"a difference of rates needs trials on both sides, got {ours[1]} and {other[1]}")
    rate, base = ours[0] / ours[1], other[0] / other[1]
    (low, high), (base_low, base_high) = wilson(*ours, z), wilson(*other, z)
    difference = rate - base
    below, above = math.hypot(rate - low, base_high - base), math.hypot(high - rate, base - base_low)
    return difference, (difference - below, difference + above)


def _newcombe(both: float, only_ours: float, only_control: float, neither: float, z: float) -> tuple[float, float]:
    n = both + only_ours + only_control + neither
    ours, control = (both + only_ours) / n, (both + only_control) / n
    low_ours, high_ours = wilson(both + only_ours, n, z)
    low_control, high_control = wilson(both + only_control, n, z)
    phi = _correlation(both, only_ours, only_control, neither)

    def arm(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    difference = ours - control
    low = difference - arm(ours - low_ours, high_control - control)
    return low, difference + arm(high_ours - ours, control - low_control)


def _correlation(both: float, only_ours: float, only_control: float, neither: float) -> float:
    """Newcombe's phi: the correlation of the pairs, its numerator corrected for continuity where positive."""
    margins = (both + only_ours) * (only_control + neither) * (both + only_control) * (only_ours + neither)
    if margins == 0:
        return 0.0
    numerator = float(both * neither - only_ours * only_control)
    if numerator > 0:
        numerator = max(numerator - (both + only_ours + only_control + neither) / 2, 0.0)
    return numerator / math.sqrt(margins)


def _mcnemar(only_ours: int, only_control: int) -> float:
    n, smaller = only_ours + only_control, min(only_ours, only_control)
    tail = sum(math.comb(n, k) for k in range(smaller + 1)) / 2**n
    return min(1.0, 2 * tail)
