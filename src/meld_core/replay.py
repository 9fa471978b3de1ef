"""Trials on disk, append-only: what the learner learns from."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from meld_core.storage.files import make_folder, remove_temporary, set_aside, write_atomic
from meld_core.storage.spool import SUFFIX
from meld_core.storage.stored_rows import on_disk
from meld_core.storage.trial_file import TrialError, decode_trial, encode_trial
from meld_core.types import Trial, TrialId

__all__ = ["Replay", "TrialError", "decode_trial", "encode_trial", "steps_of"]

_LOG = logging.getLogger(__name__)
_READERS = 4
"""Threads that read and verify files when a replay is opened."""
_TELL_EVERY = 500
"""Files between two words on how far the opening is."""


class Replay:
    """All trials of a run in one folder of files, all but their pictures in memory, too; one process owns it.

    Opening verifies every file; a bad one is moved into `quarantine/` with the reason beside it, and said.
    Arrays are read-only; pictures are read from their file when somebody asks for them.
    """

    def __init__(self, folder: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Open a folder, making it where it is missing.

        Args:
            folder: Of the files.
            on_progress: Called now and then with the files that are open, and with their number.
        """
        self.folder = make_folder(Path(folder))
        self.trials: list[Trial] = []
        """By counter; an aborted trial stands before its repetition."""
        self.steps = 0
        """Executed actions of all trials."""
        self.ingested, self.duplicates, self.refused = 0, 0, 0
        """Calls of `ingest` since opening, by outcome."""
        self.problems: list[str] = []
        """What opening found wrong, one sentence each."""
        self._by_id: dict[TrialId, Trial] = {}
        remove_temporary(self.folder)
        paths = sorted(self.folder.glob(f"*{SUFFIX}"))
        with ThreadPoolExecutor(_READERS, "open") as readers:
            for count, (path, found) in enumerate(zip(paths, readers.map(_read, paths), strict=True), 1):
                self._take(path, found)
                if on_progress and count % _TELL_EVERY == 0:
                    on_progress(count, len(paths))

    def __len__(self) -> int:
        return len(self.trials)

    def __contains__(self, trial: TrialId) -> bool:
        return trial in self._by_id

    def of(self, index: int) -> list[Trial]:
        """The trials of this counter: aborted ones first, then the whole one."""
        start = bisect.bisect_left(self.trials, index, key=lambda trial: trial.meta.id.counter)
        end = bisect.bisect_right(self.trials, index, key=lambda trial: trial.meta.id.counter)
        return self.trials[start:end]

    def ingest(self, data: bytes) -> Trial | None:
        """Store a trial that arrived as bytes; it is fsynced on return, and may be acknowledged.

        Returns:
            The trial, or None where this very trial is known already.

        Raises:
            TrialError: on bad bytes, a split other than "train", or another trial under a known id.
            StorageError: where the disk refuses; nothing is stored, send it again.
        """
        data = bytes(data)
        try:
            trial = self._admit(data)
        except TrialError:
            self.refused += 1
            raise
        if trial.meta.id in self._by_id:
            self.duplicates += 1
            return None
        write_atomic(self._path(trial), data)
        self._insert(on_disk(trial, self._path(trial), data))
        self.ingested += 1
        return trial

    def _admit(self, data: bytes) -> Trial:
        trial = _decode_for_training(data)
        known = self._by_id.get(trial.meta.id)
        if encode_trial(known) != data if known else self._path(trial).exists():
            raise TrialError(f"another trial is stored as {self._path(trial).name}; each trial needs an id of its own")
        return trial

    def _path(self, trial: Trial) -> Path:
        return self.folder / _name(trial)

    def _take(self, path: Path, found: Trial | TrialError) -> None:
        if isinstance(found, Trial):
            self._insert(found)
            return
        set_aside(path, str(found), self.folder / "quarantine")
        self.problems.append(f"quarantined {path.name}: {found}")
        _LOG.warning(self.problems[-1])

    def _insert(self, trial: Trial) -> None:
        bisect.insort(self.trials, trial, key=_order)
        self._by_id[trial.meta.id] = trial
        self.steps += steps_of(trial)


def _name(trial: Trial) -> str:
    return f"{trial.meta.id}{SUFFIX}"


def _read(path: Path) -> Trial | TrialError:
    """A stored trial, or what is wrong with it. Disk and digest leave Python's lock to others."""
    data = path.read_bytes()
    try:
        trial = _decode_for_training(data)
        if path.name != _name(trial):
            raise TrialError(f"it holds trial {trial.meta.id}, which its name does not say")
    except TrialError as error:
        return error
    return on_disk(trial, path, data)


def _decode_for_training(data: bytes) -> Trial:
    trial = decode_trial(data)
    if (split := trial.meta.task["split"]) != "train":
        raise TrialError(f"trial {trial.meta.id} is of the split {split!a}; only 'train' may be learned from")
    return trial


def _order(trial: Trial) -> tuple[int, bool, str]:
    return trial.meta.id.counter, not trial.meta.aborted, str(trial.meta.id)


def steps_of(trial: Trial) -> int:
    """Executed actions: each episode of T steps has T+1 rows."""
    return len(trial) - int(trial.rows["first_in_episode"].sum())
