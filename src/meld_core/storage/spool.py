"""The actor's spool: closed episodes are safe on disk before anything else happens to them.

    open/<trial>/000.safetensors ...    closed episodes of a trial that still runs
    pending/<trial>.safetensors         closed trials that the learner has not acknowledged
    ledger.jsonl                        every episode that was stored, one line each (ledger.py)
    quarantine/                         what could not be read, with the reason beside it

A pending file holds the very bytes that travel to the learner. An acknowledged one is removed: the learner has fsynced
the same bytes into its replay by then. One process owns a spool.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meld_core.storage.disk_room import DiskRoom
from meld_core.storage.files import StorageError, make_folder, remove_temporary, set_aside, sync_folder, write_atomic
from meld_core.storage.ledger import Event, Ledger
from meld_core.storage.tensor_file import FormatError, pack, unpack
from meld_core.storage.trial_file import TrialError, columns, decode_trial, encode_trial, read_meta, split_columns
from meld_core.types import Trial, TrialMeta, check_rows

SUFFIX = ".safetensors"
_LOG = logging.getLogger(__name__)
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,250}")
CRASHED = "the actor ended before it closed the trial"


@dataclasses.dataclass(frozen=True)
class Part:
    """One closed episode of a trial."""

    meta: TrialMeta
    episode: int
    rows: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray]

    @property
    def ends_trial(self) -> bool:
        """Whether the trial was over with this episode."""
        return bool(self.rows["terminal"][-1] or self.rows["truncated"][-1])


def encode_part(part: Part) -> bytes:
    """A closed episode as bytes. Raises TrialError on wrong rows."""
    try:
        check_rows(part.rows, part.truth)
        text = json.dumps({"episode": part.episode, "trial": part.meta.to_json()})
        return pack("episode", text, columns(part.rows, part.truth))
    except ValueError as error:
        raise TrialError(f"episode {part.episode} of trial {part.meta.id}: {error}") from None


def decode_part(data: bytes) -> Part:
    """Inverse of `encode_part`. Raises TrialError on anything it could not have written."""
    try:
        text, arrays = unpack("episode", data)
        raw = json.loads(text)
        if not isinstance(raw, dict) or type(raw.get("episode")) is not int or not isinstance(raw.get("trial"), str):
            raise FormatError("the header of this episode is not readable")
        rows, truth = split_columns(arrays)
        check_rows(rows, truth)
        return Part(read_meta(raw["trial"]), raw["episode"], rows, truth)
    except (ValueError, RecursionError) as error:
        raise TrialError(str(error)) from None


def join_parts(meta: TrialMeta, parts: Sequence[Part]) -> Trial:
    """Closed episodes, in order, as one trial. Raises TrialError where they do not fit together."""
    try:
        rows = {name: np.concatenate([part.rows[name] for part in parts]) for name in parts[0].rows}
        truth = {name: np.concatenate([part.truth[name] for part in parts]) for name in parts[0].truth}
        return Trial(meta, rows, truth)
    except (ValueError, KeyError) as error:
        raise TrialError(f"the episodes of trial {meta.id} do not fit together: {error}") from None


class Spool:
    """Trials on their way to the learner. Call `recover` once at start-up."""

    def __init__(self, folder: Path, room: DiskRoom | None = None) -> None:
        self.folder = Path(folder)
        self._open, self._pending = make_folder(self.folder / "open"), make_folder(self.folder / "pending")
        self._ledger = Ledger(self.folder)
        self._room = room

    def add_episode(
        self, meta: TrialMeta, episode: int, rows: Mapping[str, np.ndarray], extras: Mapping[str, np.ndarray]
    ) -> None:
        """Store one closed episode; it is fsynced on return.

        Raises:
            TrialError: on wrong rows, an episode that is not the next one of its trial, or a trial that is closed.
            StorageError: where the disk refuses; try again with the same arguments.
        """
        if self._pending_path(str(meta.id)).exists():
            raise TrialError(f"trial {meta.id} is closed already; a repetition needs a counter or boot id of its own")
        data = encode_part(Part(meta, episode, rows, extras))
        path = self._open / str(meta.id) / f"{episode:03d}{SUFFIX}"
        known = self._parts_of(meta)
        if known[episode : episode + 1] != [path] or path.read_bytes() != data:  # else: stored, but not yet listed
            if episode != len(known):
                raise TrialError(f"episode {episode} of trial {meta.id} came where {len(known)} was expected")
            self._write(path, data)
        self._ledger.stored(str(meta.id), episode, rows, extras)

    def _write(self, path: Path, data: bytes) -> None:
        """Write durably; where the disk has filled up since the episode began, into the room kept for it."""
        try:
            write_atomic(make_folder(path.parent) / path.name, data)
        except StorageError:
            if self._room is None or not self._room.release():
                raise
            write_atomic(make_folder(path.parent) / path.name, data)

    def note(self, event: Event, **facts: Any) -> None:
        """Write into the ledger what the trials do not hold. Raises StorageError where the disk refuses."""
        self._ledger.note(event, **facts)

    def close_trial(self, meta: TrialMeta) -> Trial | None:
        """Join the closed episodes of a trial into one pending file; None where there are none.

        Args:
            meta: Final header; `aborted` says why where the trial ended early.

        Raises:
            TrialError: where the episodes make no sound trial; they stay in `open/`.
            StorageError: where the disk refuses; try again.
        """
        parts = [decode_part(path.read_bytes()) for path in self._parts_of(meta)]
        trial = self._store(meta, parts) if parts else None
        self._forget(self._open / str(meta.id))
        return trial

    def recover(self) -> list[str]:
        """Make sense of what a crashed process left; one sentence per thing done, also logged. Nothing is dropped."""
        self._ledger.repair_end()
        for folder in (self._pending, *self._open.iterdir()):
            remove_temporary(folder)
        done = [self._recover_pending(path) for path in sorted(self._pending.glob(f"*{SUFFIX}"))]
        done += [self._recover_open(folder) for folder in sorted(self._open.iterdir()) if folder.is_dir()]
        sentences = [sentence for sentence in done if sentence]
        for sentence in sentences:
            _LOG.warning(sentence)
        return sentences

    def pending(self) -> list[str]:
        """Ids of trials that wait for an acknowledgement, oldest first."""
        return [path.name.removesuffix(SUFFIX) for path in sorted(self._pending.glob(f"*{SUFFIX}"), key=_age)]

    def read(self, trial: str) -> bytes:
        """The bytes of a pending trial. Raises TrialError where there is none of that id."""
        path = self._pending_path(trial)
        if not path.is_file():
            raise TrialError(f"no trial {trial!a} waits in {self.folder}")
        return path.read_bytes()

    def acknowledge(self, trial: str) -> bool:
        """Forget a trial that the learner has stored; False where it was not (or no longer) pending."""
        path = self._pending_path(trial)
        if not path.is_file():
            return False
        path.unlink()
        return True

    def refuse(self, trial: str, reason: str) -> bool:
        """Move a pending trial that the learner refused into quarantine; False where it was not pending."""
        path = self._pending_path(trial)
        if not path.is_file():
            return False
        set_aside(path, reason, self.folder / "quarantine")
        return True

    def _pending_path(self, trial: str) -> Path:
        if not _SAFE_ID.fullmatch(trial):
            raise TrialError(f"{trial[:80]!a} is not a trial id")
        return self._pending / f"{trial}{SUFFIX}"

    def _parts_of(self, meta: TrialMeta) -> list[Path]:
        return sorted((self._open / str(meta.id)).glob(f"*{SUFFIX}"))

    def _store(self, meta: TrialMeta, parts: Sequence[Part]) -> Trial:
        trial = join_parts(meta, parts)
        self._write(self._pending / f"{meta.id}{SUFFIX}", encode_trial(trial))
        return trial

    def _forget(self, folder: Path) -> None:
        if folder.is_dir():
            shutil.rmtree(folder)
            sync_folder(self._open)

    def _recover_pending(self, path: Path) -> str:
        try:
            decode_trial(path.read_bytes())
        except TrialError as error:
            set_aside(path, str(error), self.folder / "quarantine")
            return f"quarantined the pending trial {path.name}: {error}"
        return ""

    def _recover_open(self, folder: Path) -> str:
        if (self._pending / f"{folder.name}{SUFFIX}").is_file():
            self._forget(folder)  # the crash came between joining the episodes and removing them
            return f"trial {folder.name} had been closed already; removed its parts"
        parts, problem = _sound_parts(folder)
        try:
            said = self._rebuild(folder.name, parts)
        except TrialError as error:
            problem, said = problem or str(error), f"could not rebuild trial {folder.name}"
        if problem:
            set_aside(folder, problem, self.folder / "quarantine")
            return f"{said}; quarantined what is left of it: {problem}"
        self._forget(folder)
        return said

    def _rebuild(self, name: str, parts: Sequence[Part]) -> str:
        if not parts:
            return f"trial {name} had no closed episode"
        complete = parts[-1].ends_trial
        meta = parts[-1].meta if complete else dataclasses.replace(parts[-1].meta, aborted=CRASHED)
        trial = self._store(meta, parts)
        state = "complete" if complete else "aborted"
        return f"recovered trial {name} as {state}, with {len(parts)} closed episodes of {len(trial)} rows"


def _sound_parts(folder: Path) -> tuple[list[Part], str]:
    """The episodes 0, 1, ... that can be read and belong to this trial, and what is wrong with the next one."""
    parts: list[Part] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            part = decode_part(path.read_bytes())
        except TrialError as error:
            return parts, f"{path.name}: {error}"
        if str(part.meta.id) != folder.name or part.episode != len(parts):
            return parts, f"{path.name} holds episode {part.episode} of {part.meta.id}, expected {len(parts)}"
        parts.append(part)
    return parts, ""


def _age(path: Path) -> tuple[str, int, str]:
    """Sorts by the trial's counter, then by time of writing (an aborted trial comes before its repetition)."""
    counter = path.name.removesuffix(SUFFIX).rsplit("-", 2)[-2:-1]
    return (counter[0] if counter else "").rjust(12, "0"), path.stat().st_mtime_ns, path.name
