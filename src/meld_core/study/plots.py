"""Pictures of a study: learning curves of its main rows, and what every ablation and condition changes."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meld_core.metrics import read_rows
from meld_core.reporting.plots import moving_rate
from meld_core.storage.files import make_folder, write_atomic
from meld_core.study.effort import read_effort, time_line
from meld_core.study.results import CellResult, RowResult
from meld_core.study.work import CURVE_FILE, TRAINING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ("#1f6fb4", "#c0504d", "#e0a030", "#4f9d4f", "#8064a2", "#5aa9a6", "#7f7f7f", "#b5651d")
_PANELS = (("success", 0), ("success", 1), ("first_attempt", 1))
"""(measure, episode) of the rows of the learning curves."""
_AXES = ("control steps", "wall time [min]", "CPU time [min]")
_NAMES = {"success": "success", "first_attempt": "first attempt"}

Curve = list[tuple[float, float, float, float]]
"""(steps, wall [min], CPU [min], rate)."""


def curve_of(result: CellResult, measure: str, episode: int) -> Curve:
    """Moving rate over the training trials by the policy, against control steps, wall and CPU time."""
    folder = result.cell.folder.path
    if (folder / CURVE_FILE).is_file():
        return _rival_curve(json.loads((folder / CURVE_FILE).read_text(encoding="utf-8")), measure, episode)
    line = list(time_line(read_effort(folder), TRAINING))
    rows = [row for row in read_rows(folder, "trial") if row.get("source") == "policy"]
    points = moving_rate(rows, measure, episode)[min(9, len(rows) // 4) :]  # the first few say next to nothing
    if not line or not points:
        return []
    steps, wall, cpu = (np.array(column, dtype=float) for column in zip(*line, strict=True))
    at = np.searchsorted(steps, [point[0] for point in points]).clip(max=len(steps) - 1)
    return [
        (float(s), wall[i] / 60, cpu[i] / 60, hits / n) for (s, hits, n), i in zip(points, at.tolist(), strict=True)
    ]


def _rival_curve(training: Mapping[str, Any], measure: str, episode: int) -> Curve:
    points = training["curve"]
    known = [point for point in points if point[measure][episode] is not None]
    return [(p["steps"], p["seconds"] / 60, p["seconds"] / 60, p[measure][episode]) for p in known]


def plot_curves(rows: Sequence[RowResult], path: Path) -> Path | None:
    """One colour per row, one thin line per seed; None where there is nothing to draw."""
    from matplotlib.figure import Figure

    drawn = [row for row in rows if row.row.chart and row.cells]
    if not drawn:
        return None
    figure = Figure(figsize=(14.0, 9.5), dpi=100, layout="constrained")
    grid = figure.subplots(len(_PANELS), len(_AXES), sharey=True, sharex="col")
    for line, (measure, episode) in zip(grid, _PANELS, strict=True):
        for number, row in enumerate(drawn):
            _draw_row(line, row, (measure, episode), _COLORS[number % len(_COLORS)])
        line[0].set_ylabel(f"{_NAMES[measure]}, episode {episode + 1}")
    for axis, label in zip(grid[-1], _AXES, strict=True):
        axis.set_xlabel(label)
    for axis in grid.flat:
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlim(left=0.0)
        axis.grid(alpha=0.3)
    for axis in grid[2]:
        axis.axhline(_chance(drawn[0]), color="black", linestyle=":", linewidth=1)
    figure.suptitle("training trials of the policy (sampled actions), moving window of 50; one line per seed")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    return _save(figure, path)


def _draw_row(axes: Sequence[Axes], row: RowResult, panel: tuple[str, int], color: str) -> None:
    for number, cell in enumerate(row.cells):
        curve = curve_of(cell, *panel)
        for column, axis in enumerate(axes):
            label = row.name if number == 0 else None
            axis.plot([p[column] for p in curve], [p[3] for p in curve], color=color, linewidth=1.1, label=label)


def _chance(row: RowResult) -> float:
    return 1.0 / row.cells[0].cell.settings.evaluation.task.ports


Difference = tuple[float, tuple[float, float]]


def plot_differences(
    title: str, bars: Sequence[tuple[str, Difference | None, Difference | None]], path: Path
) -> Path | None:
    """Differences to the row compared with, in success and first attempt of episode 2, with 95 % intervals.

    Args:
        title: Of the picture.
        bars: (name, difference in success, difference in first attempt).
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    known = [bar for bar in bars if bar[1] is not None]
    if not known:
        return None
    figure = Figure(figsize=(11.0, 1.4 + 0.34 * len(known)), dpi=100, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for side, axis in enumerate(axes):
        for place, (_, success, first) in enumerate(known):
            part = (success, first)[side]
            if part is not None:
                _draw_bar(axis, place, part)
        axis.axvline(0.0, color="black", linewidth=1)
        axis.set_title(("success", "first attempt")[side] + ", episode 2", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(known)), [bar[0] for bar in known])
    axes[0].invert_yaxis()
    figure.suptitle(title)
    return _save(figure, path)


def _draw_bar(axis: Axes, place: int, part: Difference) -> None:
    middle, (low, high) = part
    color = "#9a9a9a" if low <= 0.0 <= high else ("#c0504d" if middle < 0 else "#4f9d4f")
    axis.barh(place, middle, height=0.6, color=color)
    arms = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
    axis.errorbar(middle, place, xerr=arms, fmt="none", ecolor="black", capsize=3, linewidth=1)


def _save(figure: Figure, path: Path) -> Path:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    make_folder(path.parent)
    write_atomic(path, picture.getvalue())
    return path
