"""The learned reward detector and the report that scores detectors: small networks, hand-computed rates."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from meld_core.config import ConfigError, RewardConfig
from meld_core.detectors.drift import DriftWatch
from meld_core.detectors.labels import make_labels
from meld_core.detectors.net import ClassifierError, RewardNet, load_classifier, save_classifier
from meld_core.detectors.picture import PictureDetector
from meld_core.detectors.plot import plot_reliability
from meld_core.detectors.report import reliability, report, table
from meld_core.detectors.training import best_temperature, choose_threshold, train_classifier
from meld_core.rewards import make_detector
from meld_core.types import Frame

from .drawn_led import DARK_LED, LIT_LED, labels, view


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of drawn pictures."""
    path = tmp_path_factory.mktemp("classifier") / "reward.safetensors"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    save_classifier(train_classifier(labels(60), epochs=6), path)
    torch.set_num_threads(before)
    return path


def test_the_classifier_tells_lit_from_dark_on_scenes_and_lights_that_it_was_not_shown(trained: Path) -> None:
    detector = make_detector(RewardConfig(kind="classifier", weights=str(trained)))
    assert isinstance(detector, PictureDetector)
    result = report(detector, labels(30, seed=9), 0.01, 8.0)
    everything = result["conditions"]["all"]
    assert (everything["true_positives"], everything["false_positives"]) == (30, 0)
    assert result["brier"] < 0.02
    dim = [detector.judge((0.4 * view(led)).astype(np.uint8))[0] for led in (LIT_LED, DARK_LED)]
    assert dim == [True, False]


def test_the_classifier_debounces_like_every_detector_and_judges_nothing_in_the_dark(trained: Path) -> None:
    detector = make_detector(RewardConfig(kind="classifier", weights=str(trained), debounce=2))
    shown = [view(LIT_LED), view(LIT_LED), np.zeros((48, 64, 3), np.uint8), view(LIT_LED)]
    rewards = [detector({"detector": Frame(pixels, 1, "")}, None) for pixels in shown]
    assert [reward.success for reward in rewards] == [False, True, False, False]
    assert [reward.valid for reward in rewards] == [True, True, False, True]


def test_a_classifier_survives_its_file_and_a_damaged_one_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    first = load_classifier(trained)
    save_classifier(first, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == trained.read_bytes()
    assert (first.facts.pictures, first.facts.source) == (90, "test")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(trained.read_bytes()[:-1])
    for path, sentence in ((damaged, "is no reward classifier"), (tmp_path / "no", "cannot read the classifier")):
        with pytest.raises(ClassifierError, match=sentence) as caught:
            make_detector(RewardConfig(kind="classifier", weights=str(path)))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=re.escape("needs reward.weights: a file that `meld reward train` wrote")):
        make_detector(RewardConfig(kind="classifier"))


def test_a_net_that_is_not_finite_is_refused(trained: Path, tmp_path: Path) -> None:
    classifier = load_classifier(trained)
    bad = RewardNet()
    with torch.no_grad():
        next(bad.parameters()).fill_(math.nan)
    save_classifier(dataclasses.replace(classifier, net=bad), tmp_path / "bad.safetensors")
    with pytest.raises(ClassifierError, match="holds numbers that are not finite"):
        load_classifier(tmp_path / "bad.safetensors")


def test_the_threshold_lets_no_more_than_the_chosen_share_of_failures_through() -> None:
    """Of 100 failures one may pass 1 %: the threshold lies just above the second highest, 0.8."""
    negatives = np.concatenate([np.full(98, 0.1), [0.8, 0.9]])
    threshold = choose_threshold(negatives, 0.01)
    assert 0.8 < threshold < 0.801
    assert int((negatives >= threshold).sum()) == 1
    assert choose_threshold(np.full(10, 0.2), 0.01) == 0.5
    assert choose_threshold(np.array([0.9]), 1.0) == 0.5


def test_temperature_calms_a_network_that_is_too_sure() -> None:
    """Logits of ±4 that are right in 3 of 4 cases: the odds 3:1 are a logit of 1.10, so the temperature is 3.64."""
    logits, success = np.full(400, 4.0), np.arange(400) % 4 != 0
    assert best_temperature(logits, success) == pytest.approx(4 / math.log(3), rel=0.05)


class Scripted(PictureDetector):
    """Says the value of the first pixel, success from 128."""

    def __init__(self) -> None:
        super().__init__(RewardConfig(), DriftWatch(RewardConfig()))

    def judge(self, pixels: np.ndarray) -> tuple[bool, float]:
        value = int(pixels[0, 0, 0])
        return value >= 128, value / 255


def test_the_report_counts_by_hand(tmp_path: Path) -> None:
    """Said: 255, 204, 204, 51, 51 and one too dark; so: yes, yes, no, yes, no, no."""
    values = [255, 204, 204, 51, 51, 0]
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in values]
    scored = make_labels(pictures, [True, True, False, True, False, False], range(6), "bench", "test")
    result = report(Scripted(), scored, 0.5, 8.0)
    counts = result["conditions"]["bench"]
    names = ("true_positives", "false_positives", "false_negatives", "true_negatives", "not_judged")
    assert [counts[name] for name in names] == [2, 1, 1, 1, 1]
    assert counts["precision"]["rate"] == counts["recall"]["rate"] == 2 / 3
    assert counts["recall"]["wilson95"] == pytest.approx([0.2077, 0.9385], abs=1e-3)
    assert [(b["said"], b["rate"], b["n"]) for b in result["reliability"]] == [(0.2, 0.5, 2), (0.8, 0.5, 2), (1, 1, 1)]
    assert result["brier"] == pytest.approx((0 + 0.04 + 0.64 + 0.64 + 0.04) / 5)
    assert result["threshold"]["reached"]["rate"] == 0.5
    assert "(1 too dark to judge)" in table(result)[1]
    assert plot_reliability(result, tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"


def test_reliability_leaves_empty_bins_out() -> None:
    assert reliability(np.zeros(0), np.zeros(0, bool)) == []
    assert [b["n"] for b in reliability(np.array([0.05, 1.0]), np.array([False, True]))] == [1, 1]
