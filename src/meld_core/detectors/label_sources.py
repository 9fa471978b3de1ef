"""Labelled pictures from films and folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from meld_core.cameras.identity import read_picture
from meld_core.detectors.labels import LabelError, Labels, make_labels

_KINDS = ("*.png", "*.jpg", "*.jpeg")


def film_frames(path: Path, every: int = 1) -> Iterator[tuple[float, np.ndarray]]:
    """Time [s] and (H, W, 3) uint8 RGB of every n-th picture. Raises LabelError where it is no film."""
    capture = cv2.VideoCapture(str(path)) if path.is_file() else None
    if capture is None or not capture.isOpened():
        raise LabelError(f"there is no readable video file {path}")
    rate = capture.get(cv2.CAP_PROP_FPS) or 30.0
    number = 0
    try:
        while True:
            good, pixels = capture.read()
            if not good:
                return
            if number % every == 0:
                yield number / rate, np.ascontiguousarray(pixels[..., ::-1])
            number += 1
    finally:
        capture.release()


def parse_spans(text: str) -> list[tuple[float, float]]:
    """'3.5-8,12-15' → [(3.5, 8.0), (12.0, 15.0)] [s]. Raises LabelError on anything else."""
    try:
        spans = [(float(low), float(high)) for low, high in (part.split("-") for part in text.split(",") if part)]
    except ValueError:
        spans = [(1.0, 0.0)]
    if any(low > high for low, high in spans):
        raise LabelError(f"'{text}' names no times; write seconds like 3.5-8,12-15")
    return spans


def labels_of_film(path: Path, spans: Sequence[tuple[float, float]], every: int, condition: str) -> Labels:
    """A film, labelled by the times [s] at which it shows a success. Each span, and each gap, is one group.

    Raises:
        LabelError: where it is no film.
    """
    pictures: list[np.ndarray] = []
    success: list[bool] = []
    groups: list[int] = []
    for time, pixels in film_frames(path, every):
        shown = any(low <= time <= high for low, high in spans)
        groups.append((groups[-1] + int(shown != success[-1])) if success else 0)
        pictures.append(pixels)
        success.append(shown)
    return make_labels(pictures, success, groups, condition, "times in a film")


def labels_of_folder(folder: Path, condition: str) -> Labels:
    """Picture files below `success/` and `failure/`. Raises LabelError where either is missing or empty."""
    pictures: list[np.ndarray] = []
    success: list[bool] = []
    for name in ("failure", "success"):
        paths = sorted(path for kind in _KINDS for path in (folder / name).glob(kind))
        if not paths:
            raise LabelError(f"{folder} must hold `success/` and `failure/` with PNG or JPEG files; {name} has none")
        pictures += [read_picture(str(path)) for path in paths]
        success += [name == "success"] * len(paths)
    return make_labels(pictures, success, range(len(pictures)), condition, "folders")
