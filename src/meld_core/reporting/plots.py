"""Learning curve and held-out results of a run, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meld_core.evaluation.intervals import wilson
from meld_core.storage.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEARNING_CURVE = "learning_curve.png"
WINDOW = 50
"""Policy trials in a moving window."""
MEASURES = {"success": "success", "first_attempt": "first attempt at the live port"}
AGENTS = {"trained": "trained", "belief_cleared": "belief cleared", "untrained": "untrained"}

_EPISODE_COLORS = ("#9a9a9a", "#1f6fb4", "#c0504d", "#4f9d4f")
_AGENT_COLORS = {"trained": "#1f6fb4", "belief_cleared": "#e0a030", "untrained": "#9a9a9a"}


def plot_run(rows: Sequence[Mapping[str, Any]], certificate: Mapping[str, Any], path: Path) -> Path:
    """Draw moving rates of the training trials beside the held-out rates, with 95 % Wilson intervals.

    Args:
        rows: `trial` rows of metrics.jsonl; only those by the policy are drawn.
        certificate: Of the held-out evaluation.
        path: PNG to write.
    """
    from matplotlib.figure import Figure  # takes a second to import, and only this function needs it

    figure = Figure(figsize=(11.0, 6.6), dpi=110, layout="constrained")
    axes = figure.subplots(2, 2, width_ratios=(1.5, 1.0), sharey=True)
    policy = [row for row in rows if row.get("source") == "policy"]
    for (left, right), measure in zip(axes, MEASURES, strict=True):
        _draw_training(left, policy, measure, certificate)
        _draw_held_out(right, measure, certificate)
    axes[0][0].set_title(f"training trials, moving window of {WINDOW}")
    axes[0][1].set_title(f"{certificate['trials']} held-out tasks, final weights")
    axes[1][0].set_xlabel("steps (control periods)")
    axes[0][0].legend(loc="lower right", fontsize=8)
    axes[1][1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())
    return path


def moving_rate(rows: Sequence[Mapping[str, Any]], measure: str, episode: int) -> list[tuple[int, int, int]]:
    """(steps so far, successes, trials) over the last WINDOW rows that know the outcome, one element per such row."""
    points: list[tuple[int, int, int]] = []
    hits: list[bool] = []
    for row in rows:
        outcomes = row.get(measure) or []
        if episode < len(outcomes) and outcomes[episode] is not None and row.get("steps") is not None:
            hits = [*hits[-(WINDOW - 1) :], bool(outcomes[episode])]
            points.append((int(row["steps"]), sum(hits), len(hits)))
    return points


def _draw_training(axis: Axes, rows: Sequence[Mapping[str, Any]], measure: str, certificate: Mapping[str, Any]) -> None:
    for episode, color in zip(range(len(certificate["episodes"])), _EPISODE_COLORS, strict=False):
        points = moving_rate(rows, measure, episode)[min(9, len(rows) // 4) :]  # the first few say next to nothing
        steps = [point[0] for point in points]
        low, high = zip(*(wilson(hits, n) for _, hits, n in points), strict=True) if points else ((), ())
        axis.plot(steps, [hits / n for _, hits, n in points], color=color, label=f"episode {episode + 1}")
        axis.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
    _finish(axis, measure, certificate)
    if measure == "first_attempt":
        place = axis.get_yaxis_transform()
        axis.text(1.0, certificate["chance_first_attempt"], " chance", transform=place, fontsize=8, va="center")
    axis.set_ylabel(f"rate of {MEASURES[measure]}")
    if not rows:
        axis.text(0.5, 0.5, "no training trials by the policy", transform=axis.transAxes, ha="center")


def _draw_held_out(axis: Axes, measure: str, certificate: Mapping[str, Any]) -> None:
    parts = {"trained": certificate, **certificate["controls"]}
    agents = [name for name in AGENTS if name in parts]
    for place, name in enumerate(agents):
        rates = [_rate(numbers, measure) for numbers in parts[name]["episodes"].values()]
        known = [(episode, *found) for episode, found in enumerate(rates) if found is not None]
        at = [episode + 0.26 * (place - (len(agents) - 1) / 2) for episode, _, _ in known]
        middle = [rate for _, rate, _ in known]
        arms = [[max(0.0, m - i[0]) for _, m, i in known], [max(0.0, i[1] - m) for _, m, i in known]]
        axis.bar(at, middle, width=0.24, color=_AGENT_COLORS[name], label=AGENTS[name])
        axis.errorbar(at, middle, yerr=arms, fmt="none", ecolor="black", capsize=3, linewidth=1)
        for x, y, top in zip(at, middle, arms[1], strict=True):
            axis.text(x, min(y + top + 0.015, 1.01), f"{y:.3f}", ha="center", va="bottom", fontsize=7)
    episodes = range(len(certificate["episodes"]))
    axis.set_xticks(list(episodes), [f"episode {episode + 1}" for episode in episodes])
    _finish(axis, measure, certificate)


def _rate(numbers: Mapping[str, Any], measure: str) -> tuple[float, Sequence[float]] | None:
    names = ("rate", "wilson95") if measure == "success" else ("first_attempt_rate", "first_attempt_wilson95")
    rate, interval = (numbers[name] for name in names)
    return None if rate is None else (rate, interval)


def _finish(axis: Axes, measure: str, certificate: Mapping[str, Any]) -> None:
    if measure == "first_attempt":
        axis.axhline(certificate["chance_first_attempt"], color="black", linestyle=":", linewidth=1)
    axis.set_ylim(0.0, 1.08)
    axis.grid(axis="y", alpha=0.3)
