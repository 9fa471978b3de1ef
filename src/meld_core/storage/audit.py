"""Audit of a run that was killed again and again: what was lost, doubled, or went another way than it should have."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from meld_core.replay import steps_of
from meld_core.storage.ledger import entries_of, stored_episodes
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import SUFFIX
from meld_core.storage.trial_file import decode_trial
from meld_core.storage.verify import verify
from meld_core.types import Trial
from meld_core.weights import FINAL, load_weights


@dataclasses.dataclass(frozen=True)
class Audit:
    """Facts about a finished run, by its files and the actor's ledger."""

    transitions: int
    """Executed actions that the ledger lists as stored."""
    lost: int
    """Those of them that are not in the replay."""
    duplicated: int
    """Executed actions that the replay holds more than once under different names."""
    digests: tuple[str, ...]
    """Per trial of the schedule sha256 of everything recorded but its stamps, then the digest of the final weights."""


def audit(folder: RunFolder) -> Audit:
    """Compare the replay with the ledger, which was written by another process than the replay."""
    trials = [decode_trial(path.read_bytes()) for path in sorted(folder.replay.glob(f"*{SUFFIX}"))]
    stored = stored_episodes(folder.spool)
    found = [entry for trial in trials for entry in entries_of(trial)]
    whole = sorted((trial for trial in trials if not trial.meta.aborted), key=lambda trial: trial.meta.id.counter)
    seen: dict[int, Trial] = {}
    twice = [trial for trial in whole if seen.setdefault(trial.meta.id.counter, trial) is not trial]
    return Audit(
        transitions=sum(entry.steps for entry in stored),
        lost=sum(entry.steps for entry in stored if found.count(entry) == 0),
        duplicated=sum(entry.steps for entry in stored if found.count(entry) > 1) + sum(map(steps_of, twice)),
        digests=(*map(_digest, seen.values()), load_weights(folder.weights / FINAL).digest),
    )


def _digest(trial: Trial) -> str:
    """A simulation that is started anew counts its stamps from where it is, and each process has a boot id."""
    sha = hashlib.sha256(f"{trial.meta.id.counter} {trial.meta.task}".encode())
    for name, array in sorted({**trial.rows, **trial.truth}.items()):
        if name != "stamp":
            sha.update(name.encode() + array.tobytes())
    return sha.hexdigest()


def damaged_files(folder: RunFolder) -> list[Path]:
    """Files under their final names that cannot be read: after a kill there must be none."""
    return list(verify(folder.path).problems)


def halves(folder: RunFolder) -> int:
    """Files whose writing was cut short, under their temporary names."""
    return sum(1 for path in folder.path.rglob(".*.tmp") if path.is_file())
