"""How cost grows: one small plot per curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Curve:
    """Time [ms] of one thing against its size."""

    name: str
    title: str
    unit: str
    """Of x."""
    x: tuple[int, ...]
    y: tuple[float, ...]


def plot_growth(curves: Sequence[Curve], path: Path) -> Path:
    """Write a picture with one plot per curve, from zero, so that proportional looks so. Returns its path."""
    from matplotlib.figure import Figure  # its import takes a second

    columns = 3
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, curve in zip(grid.flat, curves, strict=False):
        place.plot(curve.x, curve.y, marker="o")
        place.set_ylim(bottom=0.0, top=1.15 * max(curve.y))
        place.set_xlim(left=0.0)
        place.set_title(curve.title)
        place.set_xlabel(curve.unit)
        place.set_ylabel("ms")
        place.grid(alpha=0.3)
    for place in list(grid.flat)[len(curves) :]:
        place.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
