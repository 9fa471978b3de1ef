"""Reliability of a reward detector as one PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meld_core.storage.files import write_atomic


def plot_reliability(result: Mapping[str, Any], path: Path) -> Path:
    """Draw what was said against what was so, beside the rates under each condition, with 95 % Wilson intervals.

    Args:
        result: Of `reward_report.report`.
        path: PNG to write.
    """
    from matplotlib.figure import Figure  # takes a second to import, and only this function needs it

    figure = Figure(figsize=(10.0, 4.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.4))
    bins = result["reliability"]
    left.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
    left.errorbar(
        [b["said"] for b in bins], [b["rate"] for b in bins], yerr=_arms(bins), fmt="o", color="#1f6fb4", capsize=3
    )
    for b in bins:
        left.annotate(str(b["n"]), (b["said"], b["rate"]), textcoords="offset points", xytext=(6, -10), fontsize=7)
    left.set(xlabel="probability said", ylabel="share of successes", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    left.set_title(f"{result['pictures']} pictures not trained on", fontsize=10)
    _draw_conditions(right, result)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())
    return path


def _draw_conditions(axis: Any, result: Mapping[str, Any]) -> None:
    names = list(result["conditions"])
    parts = {"recall": ("recall", "#1f6fb4"), "false_positive_rate": ("false positives", "#c0504d")}
    for place, (key, (label, color)) in enumerate(parts.items()):
        known = [(i, result["conditions"][name][key]) for i, name in enumerate(names)]
        known = [(i, rate) for i, rate in known if rate["rate"] is not None]
        rates = [rate for _, rate in known]
        at = [i + 0.2 * (2 * place - 1) for i, _ in known]
        axis.bar(at, [r["rate"] for r in rates], width=0.36, color=color, label=label)
        axis.errorbar(at, [r["rate"] for r in rates], yerr=_arms(rates), fmt="none", ecolor="black", capsize=3)
    axis.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=8)
    axis.set_ylim(0.0, 1.05)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8, loc="center right")


def _arms(rates: list[Mapping[str, Any]]) -> list[list[float]]:
    low = [max(0.0, rate["rate"] - rate["wilson95"][0]) for rate in rates]
    return [low, [max(0.0, rate["wilson95"][1] - rate["rate"]) for rate in rates]]
