"""Rows of a stored trial whose pictures stay on disk: 100,000 steps of them would fill a laptop's memory."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from meld_core.types import Trial

_LARGE = "image"


class StoredRows(Mapping[str, np.ndarray]):
    """Like the rows that they stand for; `image` is read from the file each time that it is asked for."""

    def __init__(self, rows: Mapping[str, np.ndarray], path: Path, data: bytes) -> None:
        self._small = {name: array for name, array in rows.items() if name != _LARGE}
        self._path, self._shape, self._dtype = path, rows[_LARGE].shape, rows[_LARGE].dtype
        self._offset = _offset_of(_LARGE, data)

    def __getitem__(self, name: str) -> np.ndarray:
        if name != _LARGE:
            return self._small[name]
        count = int(np.prod(self._shape))
        pixels = np.fromfile(self._path, self._dtype, count, offset=self._offset).reshape(self._shape)
        pixels.setflags(write=False)
        return pixels

    def __iter__(self) -> Iterator[str]:
        yield from (*self._small, _LARGE)

    def __len__(self) -> int:
        return len(self._small) + 1


def _offset_of(name: str, data: bytes) -> int:
    """Where an array begins in a safetensors file: behind a length of 8 bytes and a header of JSON."""
    begin = 8 + int.from_bytes(data[:8], "little")
    return begin + int(json.loads(data[8:begin])[name]["data_offsets"][0])


def on_disk(trial: Trial, path: Path, data: bytes) -> Trial:
    """The same trial without its pictures in memory.

    Args:
        trial: Decoded from `data`, and so checked.
        path: The file, which holds `data` and never changes.
        data: Its bytes.
    """
    stored = copy.copy(trial)
    object.__setattr__(stored, "rows", StoredRows(trial.rows, path, data))
    return stored
