"""The actor's ledger: which episodes were stored, line by line, apart from the trials themselves.

A folder of trials cannot show that its newest one is missing; the ledger can. Each line is written and fsynced after
the episode that it names, is never changed, and is checked by `meld data verify`. Events:

episode   A closed episode is safe on disk: `trial`, `episode`, `steps`, `sha256` of its contents.
dropped   An episode was broken off: `trial`, `episode`, `steps` that are gone with it, `reason`.
doubted   A reward was not believed: `trial`, `episode`, `step`, `stamp`, `reason`. To be looked at by a person.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from meld_core.json_text import parse_object
from meld_core.storage.files import StorageError, make_folder, sync_folder
from meld_core.storage.trial_file import columns
from meld_core.types import Trial

LEDGER = "ledger.jsonl"
Event = Literal["episode", "dropped", "doubted"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line about a stored episode."""

    trial: str
    episode: int
    steps: int
    sha256: str


_ENTRY = {"trial": str, "episode": int, "steps": int, "sha256": str}


class Ledger:
    """Appends lines; one process owns it."""

    def __init__(self, folder: Path) -> None:
        self._path = make_folder(Path(folder)) / LEDGER

    def repair_end(self) -> None:
        """Cut off the half of a line that a crash in the middle of writing left."""
        if self._path.is_file():
            data = self._path.read_bytes()
            os.truncate(self._path, data.rfind(b"\n") + 1)

    def stored(
        self, trial: str, episode: int, rows: Mapping[str, np.ndarray], extras: Mapping[str, np.ndarray]
    ) -> None:
        """Note a closed episode. Raises StorageError where the disk refuses."""
        self.note("episode", trial=trial, episode=episode, steps=_steps(rows), sha256=episode_digest(rows, extras))

    def note(self, event: Event, **facts: Any) -> None:
        """Append one line; it is fsynced on return. Raises StorageError where the disk refuses."""
        line = (json.dumps({"event": event, **facts}) + "\n").encode()
        try:
            new = not self._path.exists()
            with self._path.open("ab", buffering=0) as file:
                before = file.tell()
                try:
                    _write_whole(file.fileno(), line)
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), before)
                    raise
            if new:
                sync_folder(self._path.parent)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}; make room, then go on") from None


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def read_ledger(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of a spool's ledger, in order; [] where there is none. What is no JSON object is left out."""
    path = Path(folder) / LEDGER
    data = path.read_bytes() if path.is_file() else b""
    return [event for line in data[: data.rfind(b"\n") + 1].splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        raw = parse_object(line)
    except ValueError:
        return None
    return raw if isinstance(raw.get("event"), str) else None


def stored_episodes(folder: Path) -> list[Entry]:
    """The episodes that a ledger says are stored, each once."""
    lines = [event for event in read_ledger(folder) if event["event"] == "episode"]
    entries = [
        Entry(*(line[name] for name in _ENTRY))
        for line in lines
        if all(type(line.get(name)) is kind for name, kind in _ENTRY.items())
    ]
    return list({(entry.trial, entry.episode): entry for entry in entries}.values())


def episode_digest(rows: Mapping[str, np.ndarray], extras: Mapping[str, np.ndarray]) -> str:
    """sha256 over every byte that an episode recorded."""
    sha = hashlib.sha256()
    for name, array in sorted(columns(rows, extras).items()):
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def entries_of(trial: Trial) -> list[Entry]:
    """What a ledger would say about the episodes of a trial."""
    entries = []
    for episode, part in enumerate(trial.episodes()):
        rows = {name: array[part] for name, array in trial.rows.items()}
        extras = {name: array[part] for name, array in trial.truth.items()}
        entries.append(Entry(str(trial.meta.id), episode, _steps(rows), episode_digest(rows, extras)))
    return entries


def _steps(rows: Mapping[str, np.ndarray]) -> int:
    return len(rows["stamp"]) - 1
