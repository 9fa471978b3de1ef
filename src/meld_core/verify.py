"""What `meld data verify DIR` says: order, gaps, duplicates and soundness of every file. It changes nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from meld_core.replay import steps_of
from meld_core.spool import SUFFIX, decode_part
from meld_core.trial_file import TrialError, decode_trial
from meld_core.types import TrialId
from meld_core.weights import WeightsError, load_weights


@dataclasses.dataclass
class Report:
    """The state of a run's folder, a replay or a spool."""

    files: int = 0
    """Files that were read, weights and open episodes included."""
    trials: int = 0
    """Distinct trials."""
    steps: int = 0
    """Executed actions of the distinct trials."""
    aborted: int = 0
    """Distinct trials that ended early."""
    waiting: int = 0
    """Trials in the spool that the replay does not hold yet."""
    open_episodes: int = 0
    """Closed episodes of trials that are not closed."""
    quarantined: int = 0
    """Files that were set aside earlier."""
    gaps: list[int] = dataclasses.field(default_factory=list)
    """Counters between the first and the last of which there is no trial."""
    duplicates: list[str] = dataclasses.field(default_factory=list)
    """Trials that occur twice, and counters with two complete trials."""
    problems: list[str] = dataclasses.field(default_factory=list)
    """One sentence for each file that is not sound."""

    @property
    def sound(self) -> bool:
        """No bad file and nothing twice; a gap may be an aborted trial and is no fault by itself."""
        return not self.problems and not self.duplicates


def verify(folder: Path) -> Report:
    """Read everything in a run's folder, a replay or a spool.

    Raises:
        TrialError: where there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TrialError(f"there is no folder {folder} to verify")
    report = Report()
    stored = _Stored(report)
    if (folder / "config.yaml").is_file() or (folder / "replay").is_dir():
        stored.read_replay(folder / "replay")
        stored.read_spool(folder / "spool")
        _read_weights(folder / "weights", report)
    elif (folder / "pending").is_dir():
        stored.read_spool(folder)
    else:
        stored.read_replay(folder)
    stored.conclude()
    return report


class _Stored:
    """Trials seen so far: id → (executed actions, aborted)."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._seen: dict[TrialId, tuple[int, bool]] = {}

    def read_replay(self, folder: Path) -> None:
        """Files of the learner."""
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            self._read(path, learned=True)
        self._report.quarantined += _quarantined(folder)

    def read_spool(self, folder: Path) -> None:
        """Files of the actor; one that the replay holds too only lacks its acknowledgement."""
        before = len(self._seen)
        for path in sorted((folder / "pending").glob(f"*{SUFFIX}")):
            self._read(path, learned=False)
        self._report.waiting += len(self._seen) - before
        for path in sorted((folder / "open").glob(f"*/*{SUFFIX}")):
            self._read_part(path)
        self._report.quarantined += _quarantined(folder)

    def _read(self, path: Path, *, learned: bool) -> None:
        self._report.files += 1
        try:
            trial = decode_trial(path.read_bytes())
        except TrialError as error:
            self._report.problems.append(f"{path}: {error}")
            return
        if path.name != f"{trial.meta.id}{SUFFIX}":
            self._report.problems.append(f"{path}: it holds trial {trial.meta.id}, which its name does not say")
        if learned and trial.meta.task["split"] != "train":
            self._report.problems.append(f"{path}: a trial of the split {trial.meta.task['split']!a} in a replay")
        if trial.meta.id in self._seen and learned:
            self._report.duplicates.append(f"trial {trial.meta.id} is stored twice")
        self._seen.setdefault(trial.meta.id, (steps_of(trial), bool(trial.meta.aborted)))

    def _read_part(self, path: Path) -> None:
        self._report.files += 1
        try:
            decode_part(path.read_bytes())
            self._report.open_episodes += 1
        except TrialError as error:
            self._report.problems.append(f"{path}: {error}")

    def conclude(self) -> None:
        """Totals, gaps and repeated counters."""
        report = self._report
        report.trials = len(self._seen)
        report.steps = sum(steps for steps, _ in self._seen.values())
        report.aborted = sum(aborted for _, aborted in self._seen.values())
        counters = {trial.counter for trial in self._seen}
        if counters:
            report.gaps = sorted(set(range(min(counters), max(counters) + 1)) - counters)
        complete = Counter((trial.run, trial.counter) for trial, (_, aborted) in self._seen.items() if not aborted)
        twice = sorted(key for key, times in complete.items() if times > 1)
        report.duplicates += [f"run {run} has {complete[run, n]} complete trials of counter {n}" for run, n in twice]


def _quarantined(folder: Path) -> int:
    return sum(not path.name.endswith(".reason.txt") for path in (folder / "quarantine").glob("*"))


def _read_weights(folder: Path, report: Report) -> None:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        report.files += 1
        try:
            load_weights(path)
        except WeightsError as error:
            report.problems.append(str(error))
