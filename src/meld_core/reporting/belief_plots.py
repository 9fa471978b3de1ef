"""Pictures of beliefs: what a probe reads off them, which rewards they expect, what they remember of the view."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meld_core.evaluation.beliefs import BeliefTrace
from meld_core.evaluation.probes import MOMENTS
from meld_core.reporting.belief_strip import heat
from meld_core.storage.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READERS = {"carried": "belief carried", "cleared": "belief forgotten between episodes", "hidden": "reward hidden"}
_READER_COLORS = {"carried": "#1f6fb4", "cleared": "#e0a030", "hidden": "#9a9a9a"}
_SHORT = ("start of\ntrial", "before first\nanswer", "after first\nanswer", "end of\nepisode 1", "start of\nepisode 2",
          "end of\nepisode 2")  # fmt: skip
_INCHES = 11.0
_GREEN, _RED = "#2f8f46", "#c0392b"


def plot_probes(probes: Mapping[str, Any], path: Path) -> Path:
    """Draw the probe along the trial beside the rewards that beliefs expect; see `belief_study.probes_of`."""
    from matplotlib.figure import Figure  # takes a second to import, and only these functions need it

    curves = probes["expected"]
    figure = Figure(figsize=(_INCHES, 3.9), dpi=110, layout="constrained")
    axes = figure.subplots(1, 1 + len(curves), width_ratios=(2.0, *[1.0] * len(curves)), squeeze=False)[0]
    _draw_probe(axes[0], probes)
    for episode, (axis, curve) in enumerate(zip(axes[1:], curves, strict=True)):
        axis.plot(curve["live"], color=_GREEN, label="live port")
        axis.plot(curve["others"], color=_RED, label="other ports, mean")
        axis.set_title(f"expected reward, episode {episode + 1}", fontsize=10)
        axis.set_xlabel("step of the episode", fontsize=9)
        axis.set_ylim(0.0, 1.0)
        axis.grid(axis="y", alpha=0.3)
        axis.legend(fontsize=8, frameon=False)
    return _save(figure, path)


def _draw_probe(axis: Axes, probes: Mapping[str, Any]) -> None:
    readers = [name for name in READERS if name in probes["readers"]]
    for number, name in enumerate(readers):
        table = probes["readers"][name]
        known = [(place, table[moment]) for place, moment in enumerate(MOMENTS) if moment in table]
        at = [place + 0.26 * (number - (len(readers) - 1) / 2) for place, _ in known]
        rates = [row["probe"]["rate"] for _, row in known]
        arms = [[abs(row["probe"]["wilson95"][k] - row["probe"]["rate"]) for _, row in known] for k in (0, 1)]
        axis.bar(at, rates, width=0.24, color=_READER_COLORS[name], label=READERS[name])
        axis.errorbar(at, rates, yerr=arms, fmt="none", ecolor="black", capsize=2, linewidth=1)
    ideal = probes["readers"]["carried"]
    for place, moment in enumerate(MOMENTS):
        if moment in ideal:
            label = "ideal observer" if place == 0 else "_"  # an underscore keeps it out of the legend
            axis.hlines(ideal[moment]["ideal"], place - 0.45, place + 0.45, color="black", linewidth=1.6, label=label)
    axis.axhline(probes["chance"], color="black", linestyle=":", linewidth=1)
    axis.set_xticks(range(len(MOMENTS)), _SHORT, fontsize=8)
    axis.set_ylim(0.0, 1.05)
    axis.grid(axis="y", alpha=0.3)
    axis.set_title(f"linear probe names the live port ({probes['trials']} tasks; dotted: chance)", fontsize=10)
    axis.legend(fontsize=8, loc="upper left", frameon=False)


def plot_strips(traces: Sequence[BeliefTrace], path: Path) -> Path | None:
    """Draw the reward that beliefs expect in each port, one heat strip per trial; None where none is expected."""
    from matplotlib.figure import Figure

    drawn = [(trace, trace.expected) for trace in traces if trace.expected is not None]
    if not drawn:
        return None
    figure = Figure(figsize=(_INCHES, 0.5 + 1.05 * len(drawn)), dpi=110, layout="constrained")
    axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    longest = max(len(expected) for _, expected in drawn)
    for number, (axis, (trace, expected)) in enumerate(zip(axes, drawn, strict=True)):
        _draw_strip(axis, trace, expected)
        axis.set_xlim(-0.5, longest - 0.5)
        axis.set_ylabel(f"task {number + 1}", fontsize=9)
    axes[-1].set_xlabel("steps since the trial began", fontsize=9)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return _save(figure, path)


def _draw_strip(axis: Axes, trace: BeliefTrace, expected: np.ndarray) -> None:
    live = sorted({int(port) for port in trace.live})
    axis.imshow(heat(expected.T), aspect="auto", interpolation="nearest")
    ports = range(expected.shape[1])
    axis.set_yticks(list(ports), [f"port {port + 1}{' (live)' if port in live else ''}" for port in ports], fontsize=8)
    for port in live:
        axis.get_yticklabels()[port].set_color(_GREEN)
    for start in np.flatnonzero(trace.first_in_episode)[1:]:
        axis.axvline(start - 0.5, color="white", linewidth=3)
    for row, port in zip(*np.nonzero(trace.in_port), strict=True):
        hit = trace.reward[row] > 0.5
        axis.plot(row, port, "o" if hit else "x", color="white", ms=6, mec=_GREEN if hit else "white", mew=1.8)
    axis.tick_params(labelsize=8, length=2)
    axis.spines[:].set_visible(False)


def plot_reconstructions(seen: np.ndarray, decoded: np.ndarray, views: Sequence[str], path: Path) -> Path:
    """Draw some steps of a trial as the model saw them above what it decodes from its belief, per view.

    Args:
        seen: (N, V h, w, 3) uint8, views stacked.
        decoded: The same, decoded.
        views: Names of the views.
        path: PNG.
    """
    from matplotlib.figure import Figure

    rows = np.unique(np.linspace(0, len(seen) - 1, 8).round().astype(int))
    figure = Figure(figsize=(_INCHES, 2.9 * len(views)), dpi=110, layout="constrained")
    axes = figure.subplots(2 * len(views), len(rows), squeeze=False)
    for number, name in enumerate(views):
        for kind, images in enumerate((seen, decoded)):
            line = axes[2 * number + kind]
            height = images.shape[1] // len(views)
            for axis, row in zip(line, rows, strict=True):
                axis.imshow(images[row, number * height : (number + 1) * height], interpolation="nearest")
                axis.set_xticks([])
                axis.set_yticks([])
            line[0].set_ylabel(f"{name}\n{'decoded' if kind else 'seen'}", fontsize=9)
    for axis, row in zip(axes[0], rows, strict=True):
        axis.set_title(f"step {row}", fontsize=9)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())
    return path
