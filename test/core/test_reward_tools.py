"""Teaching and scoring of reward detectors: drawn pictures with counted pixels, hand-computed rates, small networks."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from meld_core.config import Config, ConfigError, RewardConfig, load_config
from meld_core.detectors.drift import DriftWatch
from meld_core.detectors.label_sources import labels_of_film, labels_of_folder, parse_spans
from meld_core.detectors.labels import LabelError, Labels, join, load_labels, make_labels, save_labels, split_by_group
from meld_core.detectors.led_tool import LedError, brightest_and_darkest, choose_led, preview, write_choice
from meld_core.detectors.net import ClassifierError, RewardNet, load_classifier, save_classifier
from meld_core.detectors.picture import PictureDetector
from meld_core.detectors.plot import plot_reliability
from meld_core.detectors.pose import PoseDetector
from meld_core.detectors.report import reliability, report, table
from meld_core.detectors.training import best_temperature, choose_threshold, train_classifier
from meld_core.rewards import LedDetector, make_detector
from meld_core.task_families import make_tasks
from meld_core.types import Frame, Reward, RobotState

DARK_LED, LIT_LED, RED = (30, 50, 30), (40, 250, 80), (250, 40, 30)


def view(led: tuple[int, int, int], background: int = 110, place: tuple[int, int] = (30, 24)) -> np.ndarray:
    """64x48 with an LED of 6x5 px at a place (x, y)."""
    pixels = np.full((48, 64, 3), background, np.uint8)
    x, y = place
    pixels[y : y + 5, x : x + 6] = led
    return pixels


def test_the_led_tool_finds_region_range_and_count(tmp_path: Path) -> None:
    """The LED is 6x5 = 30 px at (30, 24); the region reaches one LED further on each side."""
    choice = choose_led(view(LIT_LED), view(DARK_LED))
    assert choice.region == (24, 19, 18, 15)
    assert (choice.pixels, choice.min_pixels) == (30, 10)
    path = tmp_path / "led.yaml"
    write_choice(choice, path)
    detector = LedDetector(load_config([path]).reward)
    assert detector.lit_pixels(view(LIT_LED)) == 30
    assert [detector.judge(view(led))[0] for led in (LIT_LED, DARK_LED, RED)] == [True, False, False]
    assert not detector.judge(view(LIT_LED, place=(2, 2)))[0]
    shown = preview(view(LIT_LED), choice)
    assert shown.shape == (384, 512, 3)
    assert shown[8 * 26, 8 * 32].tolist() == [255, 0, 255]


def test_the_led_tool_takes_the_brightest_and_darkest_picture_of_a_film() -> None:
    film = [view(DARK_LED), view((35, 150, 50)), view(LIT_LED), view((35, 150, 50))]
    lit, dark = brightest_and_darkest(film)
    assert (lit is film[2], dark is film[0]) == (True, True)


@pytest.mark.parametrize(
    ("lit", "dark", "sentence"),
    [
        (view(DARK_LED), view(DARK_LED), "no pixel is brighter by 40"),
        (view(LIT_LED)[:40], view(DARK_LED), "the lit picture is 64x40, the dark one 64x48"),
        (np.full((48, 64, 3), 200, np.uint8), view(DARK_LED), "something besides the LED moved, or the light changed"),
    ],
)
def test_what_shows_no_led_is_one_sentence(lit: np.ndarray, dark: np.ndarray, sentence: str) -> None:
    with pytest.raises(LedError, match=sentence):
        choose_led(lit, dark)


def labels(scenes: int = 40, seed: int = 0, name: str = "bench") -> Labels:
    """Scenes of two pictures, LED dark and lit, with other noise and brightness."""
    rng = np.random.default_rng(seed)
    shots = [
        np.clip(view(led, int(rng.integers(70, 150))) + rng.normal(0, 4, (48, 64, 3)), 0, 255).astype(np.uint8)
        for _ in range(scenes)
        for led in (DARK_LED, LIT_LED)
    ]
    return make_labels(shots, [False, True] * scenes, [i // 2 for i in range(2 * scenes)], name, "test")


def test_labels_survive_the_disk_and_groups_of_files_stay_apart(tmp_path: Path) -> None:
    first, second = labels(3, 0, "day"), labels(2, 1, "night")
    save_labels(first, tmp_path / "a.safetensors")
    save_labels(second, tmp_path / "b.safetensors")
    both = load_labels(tmp_path)
    assert np.array_equal(both.images, np.concatenate([first.images, second.images]))
    assert both.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert (both.names, both.conditions.tolist()) == (("day", "night"), [0] * 6 + [1] * 4)
    assert len(both.of_condition("night")) == 4
    with pytest.raises(LabelError, match="there are no labels at"):
        load_labels(tmp_path / "c")
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(LabelError, match=r"a\.safetensors: reward_labels data of 2 bytes"):
        load_labels(tmp_path)


def test_labels_of_other_sizes_do_not_mix() -> None:
    small = make_labels([view(LIT_LED)[:40]], [True], [0], "bench", "test")
    with pytest.raises(LabelError, match=r"must be of one size, got \[\(40, 64\), \(48, 64\)\]"):
        join([labels(1), small])


def test_a_split_never_parts_a_scene() -> None:
    train, held = split_by_group(labels(20), 0.25, seed=3)
    assert (len(train), len(held)) == (30, 10)
    assert set(train.groups) & set(held.groups) == set()
    with pytest.raises(LabelError, match="2 pictures of 1 scenes with 1 successes are too few"):
        split_by_group(labels(1), 0.25, seed=0)


def test_a_film_is_labelled_by_times(tmp_path: Path) -> None:
    """10 pictures a second, the LED lit from 0.5 s to 0.9 s."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(15):
        writer.write(view(LIT_LED if 5 <= number <= 9 else DARK_LED)[..., ::-1].copy())
    writer.release()
    film = labels_of_film(path, parse_spans("0.5-0.9"), 1, "film")
    assert film.success.tolist() == [5 <= number <= 9 for number in range(15)]
    assert film.groups.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    green = film.images[:, 26, 32, 1].astype(int) - film.images[:, 26, 32, 0]
    assert (green[film.success] > 100).all()
    assert (green[~film.success] < 60).all()


@pytest.mark.parametrize("text", ["3-2", "x", "1-2-3", "5"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(LabelError, match=f"'{text}' names no times"):
        parse_spans(text)


def test_a_folder_needs_both_kinds(tmp_path: Path) -> None:
    for name, led in (("success", LIT_LED), ("failure", DARK_LED)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), view(led)[..., ::-1])
    found = labels_of_folder(tmp_path, "bench")
    assert found.success.tolist() == [False, True]
    assert found.images[1, 26, 32].tolist() == list(LIT_LED)
    (tmp_path / "success" / "1.png").unlink()
    with pytest.raises(LabelError, match="success has none"):
        labels_of_folder(tmp_path, "bench")


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


def drift(seen: list[float], probability: list[float], **facts: Any) -> str:
    watch = DriftWatch(RewardConfig(drift=0.3, drift_frames=len(seen)), **facts)
    for b, p in zip(seen, probability, strict=True):
        watch.look(b, p)
    return watch.alarm


def test_the_drift_alarm_tells_light_and_doubt() -> None:
    """30 % of 100 may be missing; three times as many undecided judgements as 10 %, at least 15 %."""
    steady = [0.01] * 5
    assert drift([69.0] * 5, steady, brightness=100.0).startswith("the detector view's brightness is 69, it was 100")
    assert drift([71.0] * 5, steady, brightness=100.0) == ""
    assert drift([60.0] * 5, steady, brightness=100.0, spread=25.0) == ""
    assert drift([10.0] * 5, steady) == ""
    assert drift([100.0] * 5, [0.5] * 2 + [0.0] * 3, unsure=0.1).startswith("40 % of the detector's judgements")
    assert drift([100.0] * 5, [0.5] * 1 + [0.0] * 4, unsure=0.1) == ""


def test_the_drift_alarm_waits_for_a_whole_window_and_ends() -> None:
    detector = LedDetector(RewardConfig(brightness=110.0, drift_frames=5))
    alarms = []
    for background in [40] * 5 + [110] * 5:
        detector({"detector": Frame(np.full((64, 64, 3), background, np.uint8), 1, "")}, None)
        alarms.append(bool(detector.alarm))
    assert alarms == [False] * 4 + [True] * 3 + [False] * 3


def at(position: tuple[float, float, float]) -> RobotState:
    return RobotState(np.zeros(6), np.zeros(6), np.array(position), np.array([0.0, 0.0, 0.0, 1.0]), 1)


def test_the_pose_detector_knows_taught_goals(tmp_path: Path) -> None:
    path = tmp_path / "goals.yaml"
    path.write_text("goals:\n- [0.3, 0.0, 0.05]\n- [0.3, 0.04, 0.05]\n")
    detector = make_detector(RewardConfig(kind="pose", goals=str(path), goal_tolerance=0.005, debounce=2))
    assert detector.needs_state
    near, far = (0.3, 0.036, 0.05), (0.3, 0.02, 0.05)
    rewards = [detector({}, at(place)) for place in (near, near, far, near)]
    assert [reward.success for reward in rewards] == [False, True, False, False]
    assert rewards[0].probability == pytest.approx(1 / (1 + 0.8**4))
    assert rewards[2].probability == pytest.approx(1 / (1 + 4.0**4))
    assert detector({}, None) == Reward.missing() or not detector({}, None).valid


def test_the_pose_detector_follows_the_live_port_of_the_task() -> None:
    config = dataclasses.replace(Config().task, switch_probability=1.0)
    task = make_tasks(config).sample("train", 0)
    detector = PoseDetector(RewardConfig(kind="pose"))
    assert not detector({}, at(task.ports[0])).valid
    detector.set_task(task)
    for episode in range(2):
        detector.reset()
        seat = [(x, y, z - 0.012) for x, y, z in task.ports]
        judged = [detector({}, at(place)).success for place in seat]
        assert judged == [port == task.live_in(episode) for port in range(3)]
    assert task.live_in(0) != task.live_in(1)


@pytest.mark.parametrize("text", ["goals: []", "goals: [[1, 2]]", "goals: x", "a: 1", "goals: [[.nan, 0, 0]]"])
def test_a_file_without_goals_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "goals.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"must hold 'goals: \[\[x, y, z\], \.\.\.\]' in metres"):
        make_detector(RewardConfig(kind="pose", goals=str(path)))
