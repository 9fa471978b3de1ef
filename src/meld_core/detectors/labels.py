"""Labelled pictures of the detector view: what a classifier is trained and scored on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from meld_core.json_text import parse_object
from meld_core.storage.files import make_folder, write_atomic
from meld_core.storage.tensor_file import pack, unpack

_KIND = "reward_labels"


class LabelError(ValueError):
    """These labels cannot be used; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """N labelled pictures."""

    images: np.ndarray
    """(N, H, W, 3) uint8, RGB."""
    success: np.ndarray
    """(N,) bool."""
    groups: np.ndarray
    """(N,) int32: pictures of one episode or scene share a number. A split never parts them."""
    conditions: np.ndarray
    """(N,) int16, index into `names`."""
    names: tuple[str, ...]
    """Under what conditions pictures were taken; figures are told apart by them."""
    source: str
    """Who labelled: `key`, `topic`, `bag`, `simulator` ..."""

    def __len__(self) -> int:
        return len(self.success)

    def __post_init__(self) -> None:
        n = self.success.size
        fits = self.images.dtype == np.uint8 and self.images.ndim == 4 and self.images.shape[3] == 3
        fits = fits and self.images.size >= n == len(self.images) and self.success.dtype == np.bool_
        if not fits or any(part.dtype.kind != "i" or part.shape != (n,) for part in (self.groups, self.conditions)):
            raise LabelError(f"pictures {self.images.dtype}{self.images.shape} do not fit {n} labels")
        if n and not 0 <= self.conditions.min() <= self.conditions.max() < len(self.names):
            raise LabelError(f"conditions are numbered up to {self.conditions.max()}, {len(self.names)} have names")

    def take(self, which: np.ndarray) -> Labels:
        """A part of them; `which` is a mask or indices."""
        return dataclasses.replace(
            self,
            images=self.images[which],
            success=self.success[which],
            groups=self.groups[which],
            conditions=self.conditions[which],
        )

    def of_condition(self, name: str) -> Labels:
        """Those taken under one condition."""
        return self.take(self.conditions == self.names.index(name))


def make_labels(
    pictures: Sequence[np.ndarray], success: Sequence[bool], groups: Sequence[int], condition: str, source: str
) -> Labels:
    """Labels of one condition. Raises LabelError where there are no pictures or they differ in size."""
    if len({picture.shape for picture in pictures}) != 1:
        raise LabelError(f"labelled pictures must be of one size, got {sorted({p.shape[:2] for p in pictures})}")
    zeros = np.zeros(len(pictures), np.int16)
    return Labels(
        np.stack(list(pictures)), np.array(success, bool), np.array(groups, np.int32), zeros, (condition,), source
    )


def join(parts: Sequence[Labels]) -> Labels:
    """All of them; groups of different parts stay apart. Raises LabelError where pictures differ in size."""
    sizes = {part.images.shape[1:3] for part in parts}
    if len(sizes) != 1:
        raise LabelError(f"labelled pictures must be of one size, got {sorted(sizes)}; collect them with one crop")
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    groups, conditions, first = [], [], 0
    for part in parts:
        _, groups_here = np.unique(part.groups, return_inverse=True)
        groups.append(groups_here.astype(np.int32) + first)
        first = int(groups[-1].max()) + 1 if len(part) else first
        conditions.append(np.array([names.index(name) for name in part.names], np.int16)[part.conditions])
    return Labels(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.success for part in parts]),
        np.concatenate(groups),
        np.concatenate(conditions),
        names,
        "+".join(dict.fromkeys(part.source for part in parts)),
    )


def save_labels(labels: Labels, path: Path) -> None:
    """Write one file. Raises StorageError where the disk refuses."""
    meta = json.dumps({"schema": 1, "names": list(labels.names), "source": labels.source}, sort_keys=True)
    arrays = {"images": labels.images, "success": labels.success}
    arrays |= {"groups": labels.groups, "conditions": labels.conditions}
    make_folder(path.parent)
    write_atomic(path, pack(_KIND, meta, arrays))


def load_labels(place: Path) -> Labels:
    """Read a file, or all files of a folder.

    Raises:
        LabelError: where there are none, or one is damaged.
    """
    paths = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    if not paths or not all(path.is_file() for path in paths):
        raise LabelError(f"there are no labels at {place}; `meld reward collect` makes some")
    return join([_load(path) for path in paths])


def _load(path: Path) -> Labels:
    try:
        meta, arrays = unpack(_KIND, path.read_bytes())
        raw = parse_object(meta)
        return Labels(**arrays, names=tuple(map(str, raw["names"])), source=str(raw["source"]))
    except (ValueError, TypeError, KeyError) as error:
        raise LabelError(f"{path}: {error}") from None


def split_by_group(labels: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """Two parts without a common group; the second holds about `share` of the groups.

    Raises:
        LabelError: where a part would lack successes or failures.
    """
    groups = np.unique(labels.groups)
    drawn = np.random.default_rng(seed).permutation(groups)[: max(1, round(share * len(groups)))]
    second = np.isin(labels.groups, drawn)
    parts = labels.take(~second), labels.take(second)
    for part in parts:
        if not part.success.any() or part.success.all():
            raise LabelError(
                f"{len(labels)} pictures of {len(groups)} scenes with {int(labels.success.sum())} successes are too "
                "few to train on some and choose the threshold on others; collect more scenes of both kinds"
            )
    return parts
