"""Folders of trials, whoever made them: a run, an imported bag, a replay, a spool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meld_core.storage.spool import SUFFIX
from meld_core.storage.trial_file import TrialError, decode_trial
from meld_core.types import Trial


def trial_paths(folder: Path) -> list[Path]:
    """Files of trials in a folder: its `replay`, `evaluation`, `spool/pending` or `pending`, else the folder itself.

    Raises:
        TrialError: where there are none.
    """
    if not folder.is_dir():
        raise TrialError(f"there is no folder {folder}")
    rooms = [folder / name for name in ("replay", "evaluation", "evaluation/pending", "spool/pending", "pending")]
    found = [path for room in rooms for path in sorted(room.glob(f"*{SUFFIX}"))]
    found = found or sorted(folder.glob(f"*{SUFFIX}"))
    if not found:
        raise TrialError(f"{folder} holds no trials; give the folder of a run, of an imported bag, or of a replay")
    return list({path.name: path for path in reversed(found)}.values())[::-1]  # in the replay and still in the spool


def read_trial(path: Path) -> Trial:
    """One trial's file. Raises TrialError that names it."""
    try:
        return decode_trial(path.read_bytes())
    except (OSError, TrialError) as error:
        raise TrialError(f"{path}: {error}") from None


def read_trials(folder: Path) -> Iterator[Trial]:
    """Every trial of a folder, by file name. Raises TrialError as `trial_paths` and `read_trial` do."""
    for path in trial_paths(folder):
        yield read_trial(path)
