"""Importer: a recording becomes trials on disk, byte for byte those that the live policy stored."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from meld_core.config import Config
from meld_core.driver import Label
from meld_core.exchange.rebuild import Rebuilder, RecordedAgent
from meld_core.exchange.recorded import RecordedTrial, Recording
from meld_core.exchange.steps import IncompleteError
from meld_core.storage.files import make_folder, write_atomic
from meld_core.storage.spool import SUFFIX
from meld_core.storage.trial_file import TrialError, decode_trial, encode_trial
from meld_core.types import Trial, TrialId


@dataclasses.dataclass
class ImportReport:
    """What came of a recording."""

    stored: int = 0
    """Trials written now."""
    known: int = 0
    """Trials that the folder held already."""
    sent: int = 0
    """Trials that the recording holds whole, as the policy sent them."""
    rebuilt: int = 0
    """Trials rebuilt from their steps."""
    confirmed: int = 0
    """Rebuilt trials that equal the sent ones byte for byte."""
    empty: int = 0
    """Trials of which no episode was closed."""
    refused: list[str] = dataclasses.field(default_factory=list)
    """One sentence per trial that is not there."""
    contradicted: list[str] = dataclasses.field(default_factory=list)
    """Rebuilt trials that differ from the sent ones; those are kept."""

    @property
    def whole(self) -> bool:
        """Whether every trial that was announced is there."""
        return not self.refused and not self.contradicted

    def summary(self) -> str:
        """Everything in numbers."""
        return (
            f"{self.stored} trials stored, {self.known} known already; {self.sent} were recorded as sent, "
            f"{self.rebuilt} rebuilt from their steps ({self.confirmed} equal to the sent ones), "
            f"{self.empty} without a closed episode, {len(self.refused)} refused"
        )


class Importer:
    """Writes the trials of recordings into one folder: `replay/`, and `evaluation/` for those of other splits.

    Args:
        config: Of the run that was recorded.
        out: The folder; trials that it holds already are left as they are.
        evaluated: Weights that act in trials of an evaluation; None where unknown.
        from_steps: Do not keep what the policy sent, only compare with it.
    """

    def __init__(self, config: Config, out: Path, evaluated: Label | None = None, *, from_steps: bool = False) -> None:
        self._config, self._out, self._evaluated, self._from_steps = config, out, evaluated, from_steps
        self._sent: dict[str, str] = {}
        self._rebuilt: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self.report = ImportReport()

    def run(self, recording: Recording, on_trial: Callable[[], None] = lambda: None) -> ImportReport:
        """Import everything.

        Raises:
            StorageError: where the disk refuses.
            TrialError: where the folder holds another trial under the id of one of these.
        """
        rebuilder = Rebuilder(self._config, RecordedAgent(), recording, evaluated=self._evaluated)
        for recorded in recording.read():
            self._take_sent(recording)
            self._rebuild(rebuilder, recorded)
            on_trial()
        self._take_sent(recording)
        self._conclude()
        return self.report

    def _take_sent(self, recording: Recording) -> None:
        """Keep the trials that the policy sent, each once however often it did."""
        for data in recording.trials:
            digest = hashlib.sha256(data).hexdigest()
            if digest in self._sent.values():
                continue
            try:
                trial = decode_trial(data)
            except TrialError as error:
                self.report.refused.append(f"a trial that was sent is damaged: {error}")
                continue
            self._sent[str(trial.meta.id)] = digest
            if not self._from_steps:
                self._keep(trial, data)
        recording.trials.clear()

    def _rebuild(self, rebuilder: Rebuilder, recorded: RecordedTrial) -> None:
        key = recorded.key
        name = str(TrialId(self._config.robot.name, key.run, key.boot, key.trial))
        try:
            trial = rebuilder.rebuild(recorded)
            data = encode_trial(trial) if trial else b""
        except (IncompleteError, TrialError) as error:
            self._reasons[name] = str(error)
            return
        if trial is None:
            self.report.empty += 1
            return
        self._rebuilt[name] = hashlib.sha256(data).hexdigest()
        if self._from_steps or name not in self._sent:
            self._keep(trial, data)

    def _keep(self, trial: Trial, data: bytes) -> None:
        folder = make_folder(self._out / ("replay" if trial.meta.task["split"] == "train" else "evaluation"))
        path = folder / f"{trial.meta.id}{SUFFIX}"
        if not path.exists():
            write_atomic(path, data)
            self.report.stored += 1
        elif path.read_bytes() == data:
            self.report.known += 1
        elif self._rebuilt.get(str(trial.meta.id)) == hashlib.sha256(path.read_bytes()).hexdigest():
            write_atomic(path, data)  # what was sent came after what was rebuilt, and counts
        else:
            raise TrialError(f"{path} holds another trial of this id; import into another folder")

    def _conclude(self) -> None:
        report = self.report
        report.sent, report.rebuilt = len(self._sent), len(self._rebuilt)
        both = self._sent.keys() & self._rebuilt.keys()
        differing = sorted(name for name in both if self._sent[name] != self._rebuilt[name])
        report.confirmed = len(both) - len(differing)
        report.contradicted += [
            f"{name} rebuilt from its steps differs from what the policy sent" for name in differing
        ]
        there = self._rebuilt.keys() if self._from_steps else self._sent.keys() | self._rebuilt.keys()
        report.refused += [f"{name}: {reason}" for name, reason in self._reasons.items() if name not in there]
