"""A trial as one still picture: a few moments of each episode in a row, for pages that play no video."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from meld_core.config import Config
from meld_core.reporting.video import PAUSE, film
from meld_core.storage.files import make_folder, write_atomic
from meld_core.types import Trial

MOMENTS = 3
"""Pictures per episode: its beginning, between, its end."""
_GAP = 8


def write_sheet(trial: Trial, path: Path, config: Config, expected: np.ndarray | None = None) -> Path:
    """Write frames of a trial (see `video.film`), one line of MOMENTS pictures per episode, as PNG.

    Raises:
        StorageError: where the disk refuses.
    """
    frames = list(film(trial, "an unseen task", config, expected))
    lines = []
    for number, rows in enumerate(trial.episodes()):
        moments = np.linspace(rows.start, rows.stop - 1, MOMENTS).round().astype(int)
        before = number * (PAUSE - 1)  # the last frame of each earlier episode is repeated
        lines.append([frames[int(row) + before] for row in moments])
    height, width, _ = frames[0].shape
    sheet = Image.new("RGB", (MOMENTS * (width + _GAP) - _GAP, len(lines) * (height + _GAP) - _GAP), (255, 255, 255))
    for line, pictures in enumerate(lines):
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (column * (width + _GAP), line * (height + _GAP)))
    data = io.BytesIO()
    sheet.save(data, format="PNG", optimize=True)
    make_folder(path.parent)
    write_atomic(path, data.getvalue())
    return path
