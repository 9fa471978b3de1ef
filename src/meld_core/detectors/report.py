"""How good a reward detector is on pictures that it was not made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from meld_core.detectors.labels import LabelError, Labels
from meld_core.detectors.picture import PictureDetector
from meld_core.detectors.training import choose_threshold
from meld_core.evaluation.intervals import wilson

_BINS = 10


@dataclasses.dataclass(frozen=True)
class Counts:
    """What became of pictures under one condition."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    not_judged: int
    """Too dark."""

    def rates(self) -> dict[str, Any]:
        """Counts, and precision, recall and false-positive rate as (rate or None, 95 % Wilson interval)."""
        tp, fp, fn, tn = self.true_positives, self.false_positives, self.false_negatives, self.true_negatives
        return dataclasses.asdict(self) | {
            "precision": _rate(tp, tp + fp),
            "recall": _rate(tp, tp + fn),
            "false_positive_rate": _rate(fp, fp + tn),
        }


def _rate(hits: int, n: int) -> dict[str, Any]:
    return {"rate": hits / n if n else None, "wilson95": list(wilson(hits, n)), "n": n}


def report(
    detector: PictureDetector, labels: Labels, false_positive_rate: float, min_brightness: float
) -> dict[str, Any]:
    """Score a detector picture by picture, without debounce.

    Args:
        detector: With its threshold.
        labels: Pictures that it was not made from.
        false_positive_rate: The threshold that would keep to it on these pictures is told, too.
        min_brightness: Darker pictures are not judged.

    Returns:
        Plain JSON: `conditions` (name → counts and rates, `all` first), `reliability` (bins), `brier`, `threshold`.

    Raises:
        LabelError: where every picture is too dark to judge.
    """
    judged = labels.images.reshape(len(labels), -1).mean(axis=1) >= min_brightness
    if not judged.any():
        raise LabelError(f"all {len(labels)} pictures are darker than reward.min_brightness {min_brightness:g}")
    verdicts = [
        detector.judge(image) if ok else (False, np.nan) for image, ok in zip(labels.images, judged, strict=True)
    ]
    said = np.array([success for success, _ in verdicts], bool)
    probability = np.array([p for _, p in verdicts], np.float64)
    masks = {"all": np.ones(len(labels), bool)}
    masks |= {name: labels.conditions == i for i, name in enumerate(labels.names)}
    sure = probability[judged]
    return {
        "pictures": len(labels),
        "labelled_by": labels.source,
        "conditions": {name: _counts(said, labels.success, judged, mask).rates() for name, mask in masks.items()},
        "reliability": reliability(sure, labels.success[judged]),
        "brier": float(np.mean((sure - labels.success[judged]) ** 2)),
        "threshold": _threshold(probability[judged], labels.success[judged], false_positive_rate),
    }


def _counts(said: np.ndarray, success: np.ndarray, judged: np.ndarray, mask: np.ndarray) -> Counts:
    seen = mask & judged
    return Counts(
        int((seen & said & success).sum()),
        int((seen & said & ~success).sum()),
        int((seen & ~said & success).sum()),
        int((seen & ~said & ~success).sum()),
        int((mask & ~judged).sum()),
    )


def _threshold(probability: np.ndarray, success: np.ndarray, rate: float) -> dict[str, Any]:
    threshold = choose_threshold(probability[~success], rate)
    said = probability >= threshold
    return {
        "false_positive_rate": rate,
        "value": threshold,
        "recall": _rate(int((said & success).sum()), int(success.sum())),
        "reached": _rate(int((said & ~success).sum()), int((~success).sum())),
    }


def reliability(probability: np.ndarray, success: np.ndarray) -> list[dict[str, Any]]:
    """Ten bins of probability: what was said (mean) and what was so (rate), (N,) and (N,) bool; empty bins left out."""
    places = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    bins = []
    for place in range(_BINS):
        inside = places == place
        n, hits = int(inside.sum()), int(success[inside].sum())
        if n:
            bins.append({"said": float(probability[inside].mean()), **_rate(hits, n)})
    return bins


def table(result: Mapping[str, Any]) -> list[str]:
    """The figures as lines of text."""
    lines = [f"{'condition':20} {'pictures':>8} {'precision':>22} {'recall':>22} {'false positives':>22}"]
    for name, rates in result["conditions"].items():
        count = sum(rates[key] for key in ("true_positives", "false_positives", "false_negatives", "true_negatives"))
        cells = [_cell(rates[key]) for key in ("precision", "recall", "false_positive_rate")]
        dark = f"  ({rates['not_judged']} too dark to judge)" if rates["not_judged"] else ""
        lines.append(f"{name:20} {count:8} {cells[0]:>22} {cells[1]:>22} {cells[2]:>22}{dark}")
    return lines


def _cell(rate: Mapping[str, Any]) -> str:
    if rate["rate"] is None:
        return "-"
    low, high = rate["wilson95"]
    return f"{rate['rate']:.3f} [{low:.3f}, {high:.3f}]"
