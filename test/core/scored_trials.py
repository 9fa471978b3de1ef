"""Trials with a told story, and rollouts that yield them: stands in for simulation in tests of evaluation."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from trial_builder import trial_of

from meld_core.config import Config
from meld_core.schedule import TrialPlan
from meld_core.types import Trial
from meld_core.weights import Weights


def told_trial(
    ports: Sequence[Sequence[int]],
    success: Sequence[Sequence[bool]],
    *,
    detected: bool | None = None,
    live: int = 1,
    counter: int = 0,
) -> Trial:
    """A trial whose truth columns are given, row by row; `detected` is what the detector says at every episode's end.

    Without `detected`, the detector agrees with the truth of the trial's last row.
    """
    steps = [len(episode) - 1 for episode in ports]
    seen = bool(success[-1][-1]) if detected is None else detected
    trial = trial_of(counter, steps, success=seen)
    truth = {
        "port": np.concatenate([np.asarray(episode, np.float32) for episode in ports]),
        "success": np.concatenate([np.asarray(episode, np.float32) for episode in success]),
    }
    meta = dataclasses.replace(trial.meta, task={**trial.meta.task, "live": live})
    return dataclasses.replace(trial, meta=meta, truth=truth)


def two_episodes(first: bool, second: bool, *, live: int = 1, counter: int = 0) -> Trial:
    """Episode 1 enters a wrong port, then the live one, and succeeds if `first`; episode 2 the live one if `second`."""
    wrong = (live + 1) % 3
    ports = [[-1, wrong, -1, live], [-1, live if second else wrong, live if second else -1]]
    success = [[False, False, False, first], [False, False, second]]
    return told_trial(ports, success, live=live, counter=counter)


def collect(
    config: Config, weights: Weights | None, plans: Iterable[TrialPlan], clear_belief: bool = False
) -> Iterator[Trial]:
    """The trained agent succeeds in episode 1 on every third task, and in episode 2 unless its belief was cleared."""
    for plan in plans:
        trained = weights is not None
        second = trained and (plan.seed % 3 == 0 if clear_belief else plan.seed % 20 != 0)
        trial = two_episodes(trained and plan.seed % 3 == 0, second, live=plan.task.live, counter=plan.index)
        yield dataclasses.replace(trial, meta=dataclasses.replace(trial.meta, task=plan.task.to_json()))


def collect_then_die(
    config: Config, weights: Weights | None, plans: Iterable[TrialPlan], clear_belief: bool = False
) -> Iterator[Trial]:
    """One trial, then the process is killed."""
    yield from collect(config, weights, list(plans)[:1], clear_belief)
    os.kill(os.getpid(), signal.SIGKILL)


def collect_then_fail(
    config: Config, weights: Weights | None, plans: Iterable[TrialPlan], clear_belief: bool = False
) -> Iterator[Trial]:
    """One trial, then an error."""
    yield from collect(config, weights, list(plans)[:1], clear_belief)
    raise RuntimeError("the bench is on fire")
