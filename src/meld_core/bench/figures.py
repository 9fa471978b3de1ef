"""What a measurement gives: lines of one table, and flat keys for a file."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np


class BenchError(RuntimeError):
    """A measurement could not be made; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure is held against."""

    text: str
    """As the table says it, such as "at most 1 ms"."""
    met: bool
    promise: bool = False
    """A promise that is not kept makes the command fail; any other goal is only shown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table, and its entries in the file."""

    what: str
    """What was measured, in a few words."""
    unit: str
    median: float
    values: Mapping[str, float | int | str]
    """Flat keys, `subject.name`, with the unit at their end where they have one."""
    p99: float | None = None
    ratio_to_peer: float | None = None
    """How many times as fast as the peer, measured in the same run."""
    fraction_of_bound: float | None = None
    """Share of what this machine could do at best, measured in the same run."""
    goal: Goal | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """What a measurement is given."""

    quick: bool = False
    """A tiny form, in seconds: shows that the measurement works, and measures little."""
    peer: Path | None = None
    """Checkout of a peer to be measured beside ours."""
    device: str = "cpu"
    """learner: what trains."""
    pictures: Path | None = None
    """Folder for plots; None draws none."""
    seed: int = 0
    ticks: int = 0
    """tick: so many in a row, besides, to see whether anything grows."""
    kills: int = 20
    """durability: how often."""
    hours: float = 1 / 3
    """soak: how long."""
    repetitions: int = 5
    """safety: how often each fault."""
    soak: float = 0.0
    """safety: afterwards a random fault every 30 s, for so many minutes."""
    tell: Callable[[str], None] = lambda _: None
    """Shows a person what is being measured now."""


Measure = Callable[[Setup], Iterator[Figure]]
"""A subject: yields figures as they come."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """Durations of one and the same thing."""

    values: np.ndarray

    def quantile(self, share: float) -> float:
        """Linear between neighbours, as numpy does it."""
        return float(np.quantile(self.values, share))

    @property
    def median(self) -> float:
        """p50."""
        return self.quantile(0.5)


def timed(
    act: Callable[[], object], count: int, warm_up: int = 0, clock: Callable[[], int] = time.perf_counter_ns
) -> Samples:
    """Time of each of `count` calls [ms], after some that are not counted: wall time, or what `clock` [ns] says."""
    for _ in range(warm_up):
        act()
    stamps = [clock()]
    for _ in range(count):
        act()
        stamps.append(clock())
    return Samples(np.diff(np.array(stamps)) / 1e6)


def interleaved(acts: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Samples]:
    """Wall time [ms] of several things by turns, so that a machine that others use too troubles all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            began = time.perf_counter()
            act()
            times[name].append(1e3 * (time.perf_counter() - began))
    return {name: Samples(np.array(values)) for name, values in times.items()}


def median_ratio(upper: Sequence[float] | np.ndarray, lower: Sequence[float] | np.ndarray) -> float:
    """Median of the quotients of pairs that were measured one after the other."""
    return float(np.median(np.asarray(upper, np.float64) / np.asarray(lower, np.float64)))


def machine() -> str:
    """What this was measured on."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    return f"{os.cpu_count()} cores, {name}, Python {platform.python_version()}"
