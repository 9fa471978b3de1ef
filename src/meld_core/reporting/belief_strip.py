"""The reward that a belief expects in each port, step by step, as a heat strip of pixels for films."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROW = 16
"""Height of a port's row, and of the heading [px]."""
_LABEL, _GAP, _MARGIN = 58, 4, 8
_COLORS = np.array([(24, 26, 32), (58, 76, 132), (38, 152, 150), (250, 214, 90)], float)
"""From an expected reward of 0 to 1."""
_TEXT = (190, 190, 190)


def strip_height(ports: int) -> int:
    """Height of a strip of so many ports [px]."""
    return ROW * (ports + 1)


def heat(values: np.ndarray) -> np.ndarray:
    """Colours of numbers in [0, 1]: (...) → (..., 3) uint8."""
    stops = np.linspace(0.0, 1.0, len(_COLORS))
    clipped = np.clip(values, 0.0, 1.0)
    channels = [np.interp(clipped, stops, _COLORS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def draw_strip(expected: np.ndarray, first_in_episode: np.ndarray, longest: int, width: int) -> np.ndarray:
    """Draw what was expected until now.

    Args:
        expected: (n, P) in [0, 1], one row per step so far.
        first_in_episode: (n,) bool: a gap is left before each later episode.
        longest: Steps that must find room: those of the whole trial, its gaps included.
        width: Of the strip [px].

    Returns:
        (strip_height(P), width, 3) uint8.
    """
    ports = expected.shape[1]
    canvas = Image.new("RGB", (width, strip_height(ports)))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    draw.text((_MARGIN, 1), "reward that the belief expects in each port (dark 0, yellow 1)", fill=_TEXT, font=font)
    for port in range(ports):
        draw.text((_MARGIN, ROW * (port + 1) + 1), f"port {port + 1}", fill=_TEXT, font=font)
    cell = max(1, (width - _LABEL - _MARGIN) // max(1, longest))
    columns = np.arange(len(expected)) + np.cumsum(first_in_episode) - 1
    for column, colors in zip(columns, heat(expected), strict=True):
        left = _LABEL + int(column) * cell
        for port, color in enumerate(colors):
            top = ROW * (port + 1)
            draw.rectangle((left, top, left + cell - 1, top + ROW - _GAP), fill=tuple(color.tolist()))
    return np.asarray(canvas)
