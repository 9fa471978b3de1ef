"""Trials as NumPy archives: one `.npz` per trial, arrays only, nothing pickled.

Every array of a trial under its own name (`types.ROW_FIELDS`), the simulator's knowledge as `truth/NAME`, and `meta`:
the trial's header as JSON, UTF-8 bytes in a uint8 array. `numpy.load(file)` reads it with its safe default.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from meld_core.storage.files import make_folder, write_atomic
from meld_core.storage.trial_file import columns
from meld_core.types import Trial

META = "meta"


def npz_of(trial: Trial) -> bytes:
    """A trial as the bytes of a compressed archive."""
    meta = np.frombuffer(trial.meta.to_json().encode(), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{META: meta, **columns(trial.rows, trial.truth)})
    return file.getvalue()


def export_npz(trials: Iterable[Trial], out: Path) -> int:
    """Write `<trial id>.npz` for each trial. Returns their number.

    Raises:
        StorageError: where the disk refuses.
    """
    count = 0
    for trial in trials:
        write_atomic(make_folder(out) / f"{trial.meta.id}.npz", npz_of(trial))
        count += 1
    return count
