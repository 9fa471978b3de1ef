"""Trainer: takes trials in, trains in the order of the schedule, gives weights out. In a node or in one process."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from meld_core.checkpoint import CheckpointError
from meld_core.config import Config
from meld_core.files import write_atomic
from meld_core.learner import Learner, Progress
from meld_core.metrics import MetricsWriter, trial_summary
from meld_core.replay import Replay
from meld_core.run_folder import RunFolder
from meld_core.schedule import Schedule
from meld_core.types import Trial
from meld_core.weights import Weights, save_weights, saved_weights

_LOG = logging.getLogger(__name__)
FACTS = "training.json"
"""Written once the final weights are."""
_KEPT = 2
"""Checkpoints kept: the newest, and one in case it is damaged."""


class Trainer:
    """Owns replay, learner, weights, metrics and checkpoints of a run folder.

    Trials may arrive in any order and more than once; training goes through their indices one by one, so that the
    result does not depend on when they came.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self._config, self._folder = config, folder
        self._schedule = Schedule(config)
        self._replay = Replay(folder.replay)
        self._metrics = MetricsWriter(folder.path)
        self._learner = Learner(config, self._replay, folder.name)
        self._complete = {t.meta.id.counter for t in self._replay.trials if not t.meta.aborted}
        self._steps = self._replay.steps
        self._whole = True
        self._concluded = (folder.path / FACTS).is_file()
        self._resume()

    def _resume(self) -> None:
        """Go on from the newest sound checkpoint; later trials are trained on again."""
        for path in sorted(self._folder.checkpoints.glob("*.safetensors"), reverse=True):
            try:
                self._learner.load(path)
                return
            except CheckpointError as error:
                _LOG.warning("passed over a checkpoint: %s", error)

    @property
    def next_trial(self) -> int:
        """Index of the trial that training waits for or goes on with."""
        return self._learner.trained_through + 1

    @property
    def next_to_collect(self) -> int:
        """First index of which no complete trial is in the replay."""
        return next(i for i in range(self._schedule.trials + 1) if i not in self._complete)

    @property
    def steps(self) -> int:
        """Executed actions of all trials of the run."""
        return self._steps

    @property
    def finished(self) -> bool:
        """Whether every trial of the schedule was trained on, or the run was concluded before."""
        return self._concluded or self.next_trial >= self._schedule.trials

    @property
    def ready(self) -> bool:
        """Whether `train_next` has a trial to go on with."""
        return not self.finished and self.next_trial in self._complete

    def ingest(self, data: bytes) -> Trial | None:
        """Store one trial; it is fsynced on return and may be acknowledged. None where it was known.

        Raises:
            TrialError: on bad bytes or a split that must not be learned from.
            StorageError: where the disk refuses.
        """
        trial = self._replay.ingest(data)
        if trial is not None:
            self._note(trial)
        return trial

    def _note(self, trial: Trial) -> None:
        if not trial.meta.aborted:
            self._complete.add(trial.meta.id.counter)
        self._steps = self._replay.steps
        age = max(0, trial.meta.id.counter - 1 - self._trained_through(trial))
        self._metrics.write("trial", steps=self._steps, weights_age=age, **trial_summary(trial))
        index, initial = trial.meta.id.counter, self._schedule.initial_trials
        if index < initial:
            self._metrics.write("status", phase="demonstrations", current=index + 1, total=initial)
        else:
            self._metrics.write("status", phase="training", current=index + 1, total=self._schedule.trials)

    def _trained_through(self, trial: Trial) -> int:
        through = self._schedule.plan(trial.meta.id.counter).needs_weights_through
        return trial.meta.id.counter - 1 if through is None else through

    def train_next(self, between: Callable[[], None] | None = None) -> Weights | None:
        """Train on the next trial of the schedule.

        Args:
            between: Called now and then between updates. Where it raises, the round is lost and no later checkpoint
                of this object is written: a resumed run does the round again.

        Returns:
            New weights, saved in the run folder, or None where no updates were due.

        Raises:
            WeightsError: where training has diverged to NaN; nothing is saved.
        """
        index = self.next_trial
        self._whole = False
        means = self._learner.train_after(index, self._report(index, between))
        self._whole = True
        weights = self._learner.weights() if means else None
        if weights is not None:
            save_weights(self._folder.weights, weights)
            self._metrics.write("learner", trial=index, **means)
        if index == self._schedule.trials - 1:
            self.conclude()
        elif (index + 1) % self._config.train.checkpoint_every == 0:
            self.save_checkpoint()
        return weights

    def _report(self, index: int, between: Callable[[], None] | None) -> Progress:
        pretraining = index == self._schedule.initial_trials - 1

        def report(current: int, total: int) -> None:
            if pretraining:
                self._metrics.write("status", phase="pretraining", current=current, total=total)
            if between is not None:
                between()

        return report

    def conclude(self) -> None:
        """End the training for good, here: the final weights are those of this moment, never a selected peak."""
        save_weights(self._folder.weights, self._learner.weights(), final=True)
        facts = {"first_learner_update_step": self._learner.first_update_step, "steps": self._steps}
        write_atomic(self._folder.path / FACTS, json.dumps(facts).encode())
        self._concluded = True
        if self._learner.trained_through >= 0:
            self.save_checkpoint()

    def saved_weights(self) -> list[Weights]:
        """The versions that the run folder keeps, oldest first: what a resumed run goes on acting with."""
        return saved_weights(self._folder.weights)

    def save_checkpoint(self) -> Path:
        """Write the learner's full state; the two newest are kept."""
        path = self._folder.checkpoints / f"{self._learner.trained_through:08d}.safetensors"
        self._learner.save(path)
        for old in sorted(self._folder.checkpoints.glob("*.safetensors"))[:-_KEPT]:
            old.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Keep what was learned, unless a round was broken off. Safe to call twice."""
        if self._whole and not self._concluded and self._learner.trained_through >= 0:
            self.save_checkpoint()
        self._metrics.close()
