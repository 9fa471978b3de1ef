"""Trials to measure with: a few real demonstrations, and as many copies of them as a measurement wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from meld_core.config import Config
from meld_core.rollout import collect
from meld_core.schedule import Schedule
from meld_core.types import Trial


@dataclasses.dataclass(frozen=True)
class Store:
    """Trials where a learner looks for them."""

    trials: Sequence[Trial]


def demonstrations(config: Config, count: int) -> list[Trial]:
    """The first scripted trials of a run, simulated."""
    schedule = Schedule(config)
    return [_numbered(t, i) for i, t in enumerate(collect(config, None, [schedule.plan(i) for i in range(count)]))]


def copies(trials: Sequence[Trial], first: int, count: int) -> Iterator[Trial]:
    """The same rows again and again, each time as another trial of the run."""
    for index in range(first, first + count):
        yield _numbered(trials[index % len(trials)], index)


def _numbered(trial: Trial, index: int) -> Trial:
    identity = dataclasses.replace(trial.meta.id, run="bench", counter=index)
    return dataclasses.replace(trial, meta=dataclasses.replace(trial.meta, id=identity))
