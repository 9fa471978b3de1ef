"""Rows of a stored trial as a replay keeps them: one block of bytes in memory, and the pictures on disk.

100,000 steps of pictures would fill a laptop's memory. An array of its own for each of the small rows would take three
times as much as what is in them, in hundreds of pieces between which memory lies idle.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from meld_core.types import Trial

_LARGE = "image"

Layout = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, dtype and shape of each array, in the order in which their bytes stand."""


class PackedArrays(Mapping[str, np.ndarray]):
    """Read-only arrays in one block of bytes; each is a view of it, made when it is asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        aligned = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
        self._places = _places(tuple((name, array.dtype.str, array.shape) for name, array in aligned))
        self._block = b"".join(array.tobytes() for _, array in aligned)

    def __getitem__(self, name: str) -> np.ndarray:
        dtype, shape, offset = self._places[name]
        return np.frombuffer(self._block, dtype, int(np.prod(shape)), offset).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@functools.lru_cache(maxsize=4096)
def _places(layout: Layout) -> dict[str, tuple[np.dtype, tuple[int, ...], int]]:
    """Where each array stands: one table for all trials of the same length."""
    places, offset = {}, 0
    for name, code, shape in layout:
        dtype = np.dtype(code)
        places[name] = dtype, shape, offset
        offset += dtype.itemsize * int(np.prod(shape))
    return places


class StoredRows(Mapping[str, np.ndarray]):
    """Like the rows that they stand for; `image` is read from the file each time that it is asked for."""

    def __init__(self, rows: Mapping[str, np.ndarray], path: Path, data: bytes) -> None:
        self._small = PackedArrays({name: array for name, array in rows.items() if name != _LARGE})
        self._path, self._shape, self._dtype = str(path), rows[_LARGE].shape, rows[_LARGE].dtype
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
    object.__setattr__(stored, "truth", PackedArrays(trial.truth))
    return stored
