"""Trainer: takes trials in, trains in the order of the schedule, gives weights out. In a node or in one process."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from meld_core.config import Config
from meld_core.learner import Learner, Progress
from meld_core.metrics import MetricsWriter, trial_summary
from meld_core.replay import Replay
from meld_core.schedule import Schedule
from meld_core.storage.checkpoint import CheckpointError
from meld_core.storage.disk_room import DiskRoom
from meld_core.storage.files import StorageError, write_atomic
from meld_core.storage.run_folder import RunFolder
from meld_core.trust.canary import Canary
from meld_core.trust.success_guard import SuccessGuard
from meld_core.types import Trial
from meld_core.weights import KEPT_VERSIONS, Weights, WeightsError, save_weights, saved_weights

_LOG = logging.getLogger(__name__)
_KEPT = 2
"""Checkpoints kept: the newest, and one in case it is damaged; besides those that may be gone back to."""
_MOST_SKIPPED = 0.25
"""A round that had to skip more than this share of its updates has diverged."""
_RETRY = 1.0
"""Between two tries to write on a full disk [s]."""


class Trainer:
    """Owns replay, learner, weights, metrics and checkpoints of a run folder.

    Trials may arrive in any order and more than once; training goes through their indices one by one, so that the
    result does not depend on when they came.
    """

    def __init__(self, config: Config, folder: RunFolder, device: str = "") -> None:
        self._config, self._folder = config, folder
        self._schedule = Schedule(config)
        self.metrics = MetricsWriter(folder.path)
        """Of the run; whoever owns the trainer may write there what others tell."""
        self._replay = Replay(folder.replay, partial(self._tell_phase, "opening the replay"))
        self._learner = Learner(config, self._replay, folder.name, device)
        self._fixed = config.train.fixed_data
        whole = {t.meta.id.counter for t in self._replay.trials if not t.meta.aborted}
        self._complete = set(range(self._schedule.trials)) if self._fixed else whole
        self._whole = True
        self._concluded = folder.training.is_file()
        self._canary, self._guard = Canary(config), SuccessGuard(config.rollback)
        self._room = DiskRoom(folder.path, dataclasses.replace(config.storage, reserve=0.0))
        self.remarks: list[str] = []
        """What a person should know: roll-backs and refusals, one sentence each."""
        self._notes = {"trouble": "", "link": "", "person": ""}
        self._resume()
        for index in range(self.next_trial):
            self._watch(index)
        if self.next_trial >= self._schedule.trials and not self._concluded:
            self.conclude()  # a crash came between the last checkpoint and the final weights

    def _tell_phase(self, phase: str, current: int, total: int) -> None:
        self.metrics.write("status", phase=phase, current=current, total=total)

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
        return self._replay.steps

    @property
    def finished(self) -> bool:
        """Whether every trial of the schedule was trained on, or the run was concluded before."""
        return self._concluded or self.next_trial >= self._schedule.trials

    @property
    def ready(self) -> bool:
        """Whether `train_next` has a trial to go on with."""
        return not self.finished and self.next_trial in self._complete

    def shortage(self) -> str:
        """Why no round may begin: the disk has no room for what it gives. "" where it has."""
        sentence = self._room.shortage()
        self.tell(sentence)
        return sentence

    def tell(self, sentence: str, about: str = "trouble") -> None:
        """Show a sentence with the progress of the run, until another one about the same comes; "" ends it.

        Args:
            sentence: What a person should know.
            about: `trouble`, which is shown first, `link`: who is not heard, or `person`: whom the run waits for.
        """
        if sentence != self._notes[about]:
            self._notes[about] = sentence
            self.metrics.write("status", note=next(filter(None, self._notes.values()), ""))
            if sentence and about == "trouble":
                _LOG.error(sentence)

    def ingest(self, data: bytes) -> Trial | None:
        """Store one trial; it is fsynced on return and may be acknowledged. None where it was known.

        Raises:
            TrialError: on bad bytes or a split that must not be learned from.
            StorageError: where the disk refuses.
        """
        trial = self._replay.ingest(data)
        if trial is not None:
            self._record(trial)
        return trial

    def _record(self, trial: Trial) -> None:
        if not trial.meta.aborted:
            self._complete.add(trial.meta.id.counter)
        index, initial = trial.meta.id.counter, self._schedule.initial_trials
        through = self._schedule.plan(index).needs_weights_through
        age = 0 if through is None else max(0, index - 1 - through)
        self.metrics.write("trial", steps=self._replay.steps, weights_age=age, **trial_summary(trial))
        phase, total = ("demonstrations", initial) if index < initial else ("training", self._schedule.trials)
        if not self._fixed:
            self._tell_phase(phase, index + 1, total)

    def train_next(self, between: Callable[[], None] | None = None) -> Weights | None:
        """Train on the next trial of the schedule.

        Args:
            between: Called now and then between updates. Where it raises, the round is lost and no later checkpoint
                of this object is written: a resumed run does the round again.

        Returns:
            New weights, saved in the run folder, or None where no updates were due. Where success has fallen or the
            learner has diverged, they are those of the last good checkpoint again, under a new version.

        Raises:
            WeightsError: where training has diverged before the first checkpoint; nothing is saved.
        """
        index, self._whole = self.next_trial, False
        means = self._learner.train_after(index, self._report(index, between))
        fallen = self._watch(index)
        weights = self._trusted(index, fallen) if means else None
        if weights is not None:
            self._store(lambda: save_weights(self._folder.weights, weights, keep=self._kept_versions), between)
            self.metrics.write("learner", trial=index, **means)
        self._whole = True
        if index == self._schedule.trials - 1:
            self._store(self.conclude, between)
        elif self._is_landmark(index):
            self._store(self.save_checkpoint, between)
        return weights

    @property
    def _kept_versions(self) -> int:
        """A policy that is `lead` trials ahead still needs the weights of then."""
        return max(KEPT_VERSIONS, self._config.train.lead // self._config.learner.update_every + 3)

    def _watch(self, index: int) -> str:
        """Show trial `index` to the guard. Returns why to roll back after the round that it ends, or ""."""
        for trial in () if self._fixed else self._replay.of(index):  # what is fixed says nothing of these weights
            self._guard.add(trial)
        fallen = self._guard.verdict() if self._schedule.updates_after(index) else ""
        if fallen:
            self._guard.start_again(self._schedule.version_after(index))
        return fallen

    def _trusted(self, index: int, fallen: str) -> Weights:
        """The learner's weights, or, where they cannot be trusted, those of the last good checkpoint."""
        reason = fallen or self._divergence()
        if not reason:
            return self._learner.weights()
        good = self._to_go_back_to(index, reason)
        self._learner.restore(self._checkpoint(good))
        weights = self._learner.weights()
        self._canary.check(weights)
        sentence = f"rolled back to the weights of trial {good} after trial {index}: {reason}"
        self.remarks.append(sentence)
        self.metrics.write("status", note=sentence, rolled_back_to=good, trial=index)
        _LOG.error(sentence)
        return weights

    def _to_go_back_to(self, index: int, reason: str) -> int:
        stored = sorted(int(path.stem) for path in self._folder.checkpoints.glob("*.safetensors"))
        saved = [number for number in stored if number < index]
        if not saved:
            raise WeightsError(f"{reason}; there is no checkpoint yet to go back to: look at the learning rates")
        good = self._good_landmark(index)
        return max((number for number in saved if number <= good), default=saved[0])

    def _divergence(self) -> str:
        """Why the networks of the learner are no good, in a sentence; "" where they are."""
        try:
            if not self._learner.finite():
                return "a network of the learner holds NaN or infinity"
            self._canary.check(self._learner.weights())
        except WeightsError as error:
            return str(error)
        skipped, updates = self._learner.skipped, self._learner.updates_of_round
        if skipped > _MOST_SKIPPED * updates:
            return f"{skipped} of {updates} updates had gradients that were not finite"
        return ""

    def _is_landmark(self, index: int) -> bool:
        """Whether the checkpoint after this trial is one to go back to: a function of the index alone."""
        return index == self._schedule.initial_trials - 1 or (index + 1) % self._config.train.checkpoint_every == 0

    def _good_landmark(self, index: int) -> int:
        """The newest landmark before `index`; once success is known, the newest one before it was at its best."""
        best = self._guard.best_at
        return self._newest_landmark(min(index - 1, best) if best >= 0 else index - 1)

    def _newest_landmark(self, index: int) -> int:
        first = self._schedule.initial_trials - 1
        return next((i for i in range(index, first, -1) if self._is_landmark(i)), first)

    def _store(self, write: Callable[[], object], between: Callable[[], None] | None) -> None:
        """Write, however long the disk is full; `between` may raise to give up."""
        while True:
            try:
                write()
            except StorageError as error:
                self.tell(f"{error}; paused until there is room, nothing is lost")
            else:
                self.tell("")
                return
            if between is not None:
                between()
            threading.Event().wait(_RETRY)

    def _report(self, index: int, between: Callable[[], None] | None) -> Progress:
        pretraining = index == self._schedule.initial_trials - 1

        def report(current: int, total: int) -> None:
            if pretraining:
                self._tell_phase("pretraining", current, total)
            elif self._fixed:
                self._tell_phase("training", index + 1, self._schedule.trials)
            if between is not None:
                between()

        return report

    def conclude(self) -> None:
        """End the training for good, here: the final weights are those of this moment, never a selected peak."""
        save_weights(self._folder.weights, self._learner.weights(), final=True)
        facts = {"first_learner_update_step": self._learner.first_update_step, "steps": self._replay.steps}
        write_atomic(self._folder.training, json.dumps(facts).encode())
        self._concluded = True
        if self._learner.trained_through >= 0:
            self.save_checkpoint()

    def saved_weights(self) -> list[Weights]:
        """The versions that the run folder keeps, oldest first: what a resumed run goes on acting with."""
        return saved_weights(self._folder.weights)

    def save_checkpoint(self) -> Path:
        """Write the learner's full state; the two newest are kept."""
        path = self._checkpoint(self._learner.trained_through)
        self._learner.save(path)
        index = self._learner.trained_through + 1
        needed = {self._checkpoint(i) for i in (self._good_landmark(index), self._newest_landmark(index - 1))}
        for old in sorted(self._folder.checkpoints.glob("*.safetensors"))[:-_KEPT]:
            if old not in needed:
                old.unlink(missing_ok=True)
        return path

    def _checkpoint(self, index: int) -> Path:
        return self._folder.checkpoints / f"{index:08d}.safetensors"

    def close(self) -> None:
        """Keep what was learned, unless a round was broken off. Safe to call twice."""
        if self._whole and not self._concluded and self._learner.trained_through >= 0:
            try:
                self.save_checkpoint()
            except StorageError as error:
                _LOG.error("%s; the rounds since the last checkpoint will be done again", error)
        self.metrics.close()
