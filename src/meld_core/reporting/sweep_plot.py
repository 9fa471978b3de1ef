"""The generalisation sweep as one PNG: where the last episode breaks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meld_core.storage.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SWEEP_PICTURE = "sweep.png"
_PANELS = {"": "success", "first_attempt_": "first attempt at the live port"}
_COLORS = ("#9a9a9a", "#1f6fb4", "#c0504d", "#4f9d4f")


def plot_sweep(sweep: Mapping[str, Any], path: Path) -> Path:
    """Draw a sweep (see `sweep.run_sweep`): one line per condition, one dot with its interval per episode.

    Raises:
        StorageError: where the disk refuses.
    """
    from matplotlib.figure import Figure  # takes a second to import, and only this function needs it

    rows = sweep["conditions"]
    figure = Figure(figsize=(11.0, 1.4 + 0.33 * len(rows)), dpi=110, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (prefix, title) in zip(axes, _PANELS.items(), strict=True):
        _draw(axis, rows, prefix)
        axis.set_title(title)
    axes[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    kind = "simulation" if sweep["simulated"] else "real bench"
    figure.supxlabel(f"rate with 95 % Wilson interval, {sweep['trials']} tasks per condition ({kind})", fontsize=9)
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=4, fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())
    return path


def _draw(axis: Axes, rows: list[Mapping[str, Any]], prefix: str) -> None:
    episodes = list(rows[0]["episodes"])
    for number, episode in enumerate(episodes):
        shift = 0.22 * (number - (len(episodes) - 1) / 2)
        known = [
            (place + shift, row["episodes"][episode])
            for place, row in enumerate(rows)
            if row["applies"] and row["episodes"][episode][f"{prefix}rate"] is not None
        ]
        rates = [numbers[f"{prefix}rate"] for _, numbers in known]
        arms = [[abs(n[f"{prefix}wilson95"][side] - n[f"{prefix}rate"]) for _, n in known] for side in (0, 1)]
        color = _COLORS[number % len(_COLORS)]
        places = [place for place, _ in known]
        axis.errorbar(rates, places, xerr=arms, fmt="o", color=color, capsize=2, ms=5, label=f"episode {episode}")
        if rates:
            axis.axvline(rates[0], color=color, linestyle=":", linewidth=1)
    for place, row in enumerate(rows):
        if not row["applies"]:
            axis.text(0.5, place, "does not apply to these weights", ha="center", va="center", fontsize=8, color="#777")
    axis.set_xlim(0.0, 1.02)
    axis.grid(axis="x", alpha=0.3)
