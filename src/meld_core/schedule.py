"""Schedule: what trial n is, and which weights and updates belong to it. A pure function of the config.

Because every answer depends on the trial's index alone, a run gives the same result on a slow and on a fast machine,
in one process and over ROS, and resumes from its last trial without any stored sampler state.
"""

from __future__ import annotations

import dataclasses

from meld_core.config import Config
from meld_core.task_families import make_tasks
from meld_core.tasks import Task
from meld_core.types import Source

_SEEDS_PER_RUN = 1_000_000
"""Train tasks of two runs with different seeds do not overlap before this many trials."""


@dataclasses.dataclass(frozen=True)
class TrialPlan:
    """Everything that is decided about a trial before it starts."""

    index: int
    task: Task
    source: Source
    needs_weights_through: int | None
    """Act with the weights trained through this trial; None where no weights are needed."""
    seed: int
    """Seed of the exploration noise."""
    greedy: bool = False


@dataclasses.dataclass(frozen=True)
class Round:
    """Updates that are due once a trial is in the replay."""

    model_updates: int
    ac_updates: int


class Schedule:
    """Trials of one training run.

    First `train.demonstrations` scripted trials (or a person's), then `train.random_trials` random ones, then the
    policy. The learner pretrains once these initial trials are in, then works in rounds of `learner.update_every`
    trials; trial n acts with the weights of the last round that ends at trial n - `train.lead` or before.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tasks = make_tasks(config.task)
        self.initial_trials = max(1, config.train.demonstrations + config.train.random_trials)
        self.trials = max(config.train.trials, self.initial_trials)

    def plan(self, index: int) -> TrialPlan:
        """Trial number `index`."""
        train = self._config.train
        return TrialPlan(
            index=index,
            task=self._tasks.sample("train", train.seed * _SEEDS_PER_RUN + index),
            source=self._source(index),
            needs_weights_through=self._weights_through(index),
            seed=train.seed * _SEEDS_PER_RUN + index,
        )

    def _source(self, index: int) -> Source:
        if index < self._config.train.demonstrations:
            return Source.HUMAN if self._config.train.demonstrator == "person" else Source.SCRIPT
        return Source.RANDOM if index < self.initial_trials else Source.POLICY

    def _weights_through(self, index: int) -> int | None:
        if index < self.initial_trials:
            return None
        first, every = self.initial_trials - 1, self._config.learner.update_every
        rounds = max(0, index - self._config.train.lead - first) // every
        return first + rounds * every

    def updates_after(self, index: int) -> Round | None:
        """Updates due after trial `index` was ingested, or None."""
        learner, first = self._config.learner, self.initial_trials - 1
        if index == first:
            return Round(learner.pretrain_model_updates, learner.pretrain_ac_updates)
        if index > first and (index - first) % learner.update_every == 0:
            return Round(learner.model_updates, learner.ac_updates)
        return None

    def version_after(self, index: int) -> int:
        """Version of the weights that there are once the updates after trial `index` are done; -1 for none."""
        first = self.initial_trials - 1
        return -1 if index < first else (index - first) // self._config.learner.update_every

    def progress(self, index: int) -> float:
        """Fraction of the run that is over once trial `index` is in, in [0, 1]."""
        return min(1.0, (index + 1) / self.trials)


def held_out_plans(config: Config, trials: int, task_seed: int) -> list[TrialPlan]:
    """Evaluation trials: tasks of `eval.split`, numbered from `task_seed`."""
    tasks = make_tasks(config.task)
    return [
        TrialPlan(
            i, tasks.sample(config.eval.split, task_seed + i), Source.POLICY, None, task_seed + i, config.eval.greedy
        )
        for i in range(trials)
    ]
