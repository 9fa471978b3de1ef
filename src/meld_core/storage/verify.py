"""What `meld data verify DIR` says: order, gaps, duplicates and soundness of every file, and what the ledger misses."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from meld_core.replay import steps_of
from meld_core.storage.ledger import Entry, entries_of, episode_digest, read_ledger, stored_episodes
from meld_core.storage.spool import SUFFIX, Part, decode_part
from meld_core.storage.tensor_file import FormatError, unpack
from meld_core.storage.trial_file import TrialError, decode_trial
from meld_core.types import Trial, TrialId
from meld_core.weights import WeightsError, load_weights


@dataclasses.dataclass
class Report:
    """The state of a run's folder, a replay or a spool."""

    files: int = 0
    """Files that were read, weights, checkpoints and open episodes included."""
    trials: int = 0
    """Distinct trials."""
    steps: int = 0
    """Executed actions of the distinct trials."""
    aborted: int = 0
    """Distinct trials that ended early."""
    dropped_steps: int = 0
    """Steps of episodes that were broken off, as far as an actor lived to count them."""
    doubted: int = 0
    """Successes that were not believed; the ledger says where."""
    waiting: int = 0
    """Trials in the spool that the replay does not hold yet."""
    open_episodes: int = 0
    """Closed episodes of trials that are not closed."""
    quarantined: int = 0
    """Files that were set aside earlier."""
    unfinished: int = 0
    """Halves of files that a crash left; whoever owns the folder removes them at its next start."""
    listed: int = 0
    """Episodes that the ledger says are stored."""
    gaps: list[int] = dataclasses.field(default_factory=list)
    """Counters between the first and the last of which there is no trial."""
    disorder: list[str] = dataclasses.field(default_factory=list)
    """Trials of one process that overlap in time; a clock that was set back does this, so it is no fault by itself."""
    duplicates: list[str] = dataclasses.field(default_factory=list)
    """Trials that occur twice, and counters with two complete trials."""
    lost: list[str] = dataclasses.field(default_factory=list)
    """Episodes that were stored and are nowhere now, or hold something else."""
    problems: dict[Path, str] = dataclasses.field(default_factory=dict)
    """Per file that is not sound one sentence."""
    surplus: dict[Path, str] = dataclasses.field(default_factory=dict)
    """Sound files that are there once too often."""

    @property
    def sound(self) -> bool:
        """No bad file, nothing twice, nothing lost; a gap may be an aborted trial and is no fault by itself."""
        return not self.problems and not self.duplicates and not self.lost

    def sentences(self) -> list[str]:
        """Everything that is wrong."""
        return [f"{path}: {reason}" for path, reason in self.problems.items()] + self.duplicates + self.lost

    def summary(self) -> str:
        """Everything in numbers."""
        counts = {
            "aborted": self.aborted, "waiting": self.waiting, "open episodes": self.open_episodes,
            "quarantined": self.quarantined, "dropped steps": self.dropped_steps, "doubted rewards": self.doubted,
            "unfinished files": self.unfinished, "out of order": len(self.disorder),
        }  # fmt: skip
        gaps = f"; no trial with counter {', '.join(map(str, self.gaps))}" if self.gaps else ""
        listed = f"; the ledger lists {self.listed} episodes, {len(self.lost)} of them lost" if self.listed else ""
        known = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"{self.trials} trials, {self.steps} steps in {self.files} files; {known}{gaps}{listed}"


def verify(folder: Path) -> Report:
    """Read everything in a run's folder, a replay or a spool; change nothing.

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
        _read_all(folder / "weights", report, load_weights)
        _read_all(folder / "checkpoints", report, _read_checkpoint)
        stored.conclude()
        stored.compare(folder / "spool")
    elif (folder / "pending").is_dir():
        stored.read_spool(folder)
        stored.conclude()
        _count_events(folder, report)  # what was acknowledged is elsewhere
    else:
        stored.read_replay(folder)
        stored.conclude()
    return report


class _Stored:
    """What was found so far."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._trials: dict[TrialId, tuple[Path, bytes]] = {}
        """Where it is, and the sha256 of the file."""
        self._facts: dict[TrialId, tuple[int, bool, int, int]] = {}
        """Executed actions, aborted, first and last stamp."""
        self._episodes: dict[tuple[str, int], Entry] = {}

    def read_replay(self, folder: Path) -> None:
        """Files of the learner."""
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            self._read(path, learned=True)
        _count_left(folder, self._report)

    def read_spool(self, folder: Path) -> None:
        """Files of the actor; one that the replay holds too only lacks its acknowledgement."""
        before = len(self._facts)
        for path in sorted((folder / "pending").glob(f"*{SUFFIX}")):
            self._read(path, learned=False)
        self._report.waiting += len(self._facts) - before
        for path in sorted((folder / "open").glob(f"*/*{SUFFIX}")):
            self._read_part(path)
        for left in (folder, folder / "pending", *(folder / "open").glob("*/")):
            _count_left(left, self._report)

    def _read(self, path: Path, *, learned: bool) -> None:
        self._report.files += 1
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        try:
            trial = decode_trial(data)
        except TrialError as error:
            self._report.problems[path] = str(error)
            return
        name = trial.meta.id
        if path.name != f"{name}{SUFFIX}":
            self._report.problems[path] = f"it holds trial {name}, which its name does not say"
        if learned and trial.meta.task["split"] != "train":
            self._report.problems[path] = f"a trial of the split {trial.meta.task['split']!a} in a replay"
        if name in self._trials:
            self._compare_copies(path, digest, learned=learned, name=name)
        else:
            self._count(path, digest, trial)

    def _compare_copies(self, path: Path, digest: bytes, *, learned: bool, name: TrialId) -> None:
        """The same bytes in spool and replay only lack an acknowledgement; anything else is one too many."""
        other, known = self._trials[name]
        if learned:
            self._report.duplicates.append(f"trial {name} is stored twice")
            self._report.surplus[path] = f"trial {name} is stored as {other.name} already"
        elif digest != known:
            self._report.problems[path] = f"another trial than the one that the replay holds under the id {name}"

    def _count(self, path: Path, digest: bytes, trial: Trial) -> None:
        name, stamps = trial.meta.id, trial.rows["stamp"]
        self._trials[name] = path, digest
        self._facts[name] = steps_of(trial), bool(trial.meta.aborted), int(stamps[0]), int(stamps[-1])
        self._episodes |= {(entry.trial, entry.episode): entry for entry in entries_of(trial)}

    def _read_part(self, path: Path) -> None:
        self._report.files += 1
        try:
            part = decode_part(path.read_bytes())
        except TrialError as error:
            self._report.problems[path] = str(error)
            return
        self._report.open_episodes += 1
        entry = _entry_of(part)
        self._episodes.setdefault((entry.trial, entry.episode), entry)

    def conclude(self) -> None:
        """Totals, gaps, order and repeated counters."""
        report = self._report
        report.trials = len(self._facts)
        report.steps = sum(facts[0] for facts in self._facts.values())
        report.aborted = sum(facts[1] for facts in self._facts.values())
        counters = {trial.counter for trial in self._facts}
        if counters:
            report.gaps = sorted(set(range(min(counters), max(counters) + 1)) - counters)
        self._find_disorder()
        complete = Counter((name.run, name.counter) for name, facts in self._facts.items() if not facts[1])
        for run, number in sorted(key for key, times in complete.items() if times > 1):
            report.duplicates.append(f"run {run} has {complete[run, number]} complete trials of counter {number}")
            self._mark_surplus(run, number)

    def _find_disorder(self) -> None:
        newest: dict[tuple[str, str, str], tuple[TrialId, int]] = {}
        for name in sorted(self._facts, key=lambda name: name.counter):
            source = name.robot, name.run, name.boot
            first, last = self._facts[name][2:]
            if source in newest and first <= newest[source][1]:
                self._report.disorder.append(f"trial {name} begins before trial {newest[source][0]} has ended")
            newest[source] = name, last

    def _mark_surplus(self, run: str, number: int) -> None:
        """All but the one that was written first."""
        whole = [name for name, facts in self._facts.items() if not facts[1]]
        same = [name for name in whole if (name.run, name.counter) == (run, number)]
        paths = sorted((self._trials[name][0] for name in same), key=lambda path: path.stat().st_mtime_ns)
        reason = f"{paths[0].name} is a complete trial of counter {number} already"
        self._report.surplus |= dict.fromkeys(paths[1:], reason)

    def compare(self, spool: Path) -> None:
        """Every episode that the ledger lists must be somewhere, with the same contents."""
        _count_events(spool, self._report)
        aside = {path.name.partition(SUFFIX)[0] for path in spool.parent.glob("*/quarantine/*")}
        for entry in stored_episodes(spool):
            self._report.listed += 1
            found = self._episodes.get((entry.trial, entry.episode))
            if found == entry or (found is None and entry.trial in aside):
                continue
            what = "is nowhere now" if found is None else "holds something else now"
            self._report.lost.append(f"episode {entry.episode} of trial {entry.trial} was stored and {what}")


def _entry_of(part: Part) -> Entry:
    steps = len(part.rows["stamp"]) - 1
    return Entry(str(part.meta.id), part.episode, steps, episode_digest(part.rows, part.truth))


def _count_events(spool: Path, report: Report) -> None:
    for line in read_ledger(spool):
        if line["event"] == "dropped" and isinstance(line.get("steps"), int):
            report.dropped_steps += line["steps"]
        report.doubted += line["event"] == "doubted"


def _count_left(folder: Path, report: Report) -> None:
    report.quarantined += sum(not path.name.endswith(".reason.txt") for path in (folder / "quarantine").glob("*"))
    report.unfinished += len(list(folder.glob(".*.tmp")))


def _read_all(folder: Path, report: Report, read: Callable[[Path], object]) -> None:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        report.files += 1
        try:
            read(path)
        except (WeightsError, FormatError) as error:
            report.problems[path] = str(error)
    _count_left(folder, report)


def _read_checkpoint(path: Path) -> None:
    unpack("checkpoint", path.read_bytes())
