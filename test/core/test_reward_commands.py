"""`meld reward` and `meld camera` from the command line, and the simulated scenes that they collect."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from meld_core.cameras.identity import write_picture
from meld_core.config import Config, RewardConfig, load_config
from meld_core.detectors.labels import LabelError, Labels
from meld_core.rewards import LedDetector
from meld_core.rollout import collect
from meld_core.schedule import Schedule
from meld_core.sim.detector_scenes import CONDITIONS, labels_of_trials, simulated_labels
from meld_ros.cli import main


@pytest.fixture(scope="module")
def scenes() -> Labels:
    """Two lit and two dark pictures of each condition."""
    return simulated_labels(Config(), 2, 0, training=False)


def test_simulated_scenes_show_what_their_labels_say(scenes: Labels) -> None:
    assert scenes.names == tuple(CONDITIONS)
    assert (len(scenes), scenes.images.shape[1:], scenes.source) == (20, (64, 64, 3), "simulator")
    assert len(set(scenes.groups.tolist())) == 20
    detector = LedDetector(RewardConfig())
    for name in ("as trained", "unseen pose"):
        part = scenes.of_condition(name)
        assert [detector.judge(image)[0] for image in part.images] == part.success.tolist() == [False, True] * 2
    hidden = scenes.of_condition("occluded")
    clear = scenes.of_condition("as trained")
    lit = [int(part.images[part.success][:, 30:40, 28:36, 1].astype(int).mean()) for part in (hidden, clear)]
    assert lit[0] < lit[1]


def test_the_same_seed_gives_the_same_scenes_and_training_never_shares_them(scenes: Labels) -> None:
    again = simulated_labels(Config(), 2, 0, training=False)
    assert np.array_equal(again.images, scenes.images)
    training = simulated_labels(Config(), 2, 0, training=True)
    assert training.names == ("training",)
    assert not any(np.array_equal(image, other) for image in training.images for other in scenes.images)


def test_recorded_trials_are_rendered_again_and_labelled_by_the_simulator() -> None:
    config = load_config(overrides=["task.horizon=12", "sim.image_size=16"])
    (trial,) = collect(config, None, [Schedule(config).plan(0)])
    found = labels_of_trials(config, [trial])
    assert len(found) == len(trial)
    assert found.success.tolist() == (trial.truth["success"] > 0.5).tolist()
    detector = LedDetector(config.reward)
    assert [detector.judge(image)[0] for image in found.images] == found.success.tolist()
    real = dataclasses.replace(trial, meta=dataclasses.replace(trial.meta, simulated=False))
    with pytest.raises(LabelError, match="was not simulated; label a bench's pictures by key"):
        labels_of_trials(config, [real])


def meld(*arguments: object) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return main([str(argument) for argument in arguments])
    finally:
        torch.set_num_threads(before)


def test_from_scenes_to_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, held = tmp_path / "train" / "a.safetensors", tmp_path / "held.safetensors"
    assert meld("reward", "collect", labels, "--sim", 40) == 0
    assert meld("reward", "collect", held, "--sim", 3, "--held-out", "--seed", 1) == 0
    weights, figures, plot = tmp_path / "reward.safetensors", tmp_path / "figures.json", tmp_path / "plot.png"
    assert meld("reward", "train", labels.parent, "--out", weights, "--epochs", 4) == 0
    assert "epoch 4 of 4: loss" in capsys.readouterr().err
    assert meld("reward", "report", held, "--weights", weights, "--json", figures, "--plot", plot) == 0
    result = json.loads(figures.read_text())
    assert set(result["conditions"]) == {"all", *CONDITIONS}
    assert result["labelled_by"] == "simulator"
    assert plot.read_bytes()[:4] == b"\x89PNG"
    assert "green distractor" in capsys.readouterr().out
    assert meld("reward", "report", held) == 0


def picture(path: Path, lit: bool) -> Path:
    pixels = np.full((48, 64, 3), 100, np.uint8)
    pixels[20:26, 30:36] = (40, 250, 80) if lit else (30, 50, 30)
    write_picture(path, pixels)
    return path


def test_the_led_command_writes_settings_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lit, dark = picture(tmp_path / "lit.png", True), picture(tmp_path / "dark.png", False)
    out = tmp_path / "led.yaml"
    assert meld("reward", "led", "--lit", lit, "--dark", dark, "--out", out) == 0
    reward = load_config([out]).reward
    assert (reward.region, reward.min_pixels) == ((24, 14, 18, 18), 12)
    assert cv2.imread(str(tmp_path / "led.png")) is not None
    assert "look at it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("reward", "led"), "say where the LED is to be seen"),
        (("reward", "led", "--lit", "no.png", "--dark", "no.png"), "there is no picture no.png"),
        (("reward", "collect", "a.safetensors"), "say where pictures come from, one of --topic, --bag, --video"),
        (("reward", "collect", "a", "--video", "no.avi", "--success", "1-2"), "there is no readable video file no.avi"),
        (("reward", "train", "nowhere"), "there are no labels at nowhere"),
        (("reward", "report", "nowhere"), "there are no labels at nowhere"),
        (("camera", "reference", "no.mp4", "out.png"), "there is no camera or video file no.mp4"),
    ],
)
def test_what_is_missing_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert meld(*arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_a_reference_picture_of_a_film(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (0, 0, 200), np.uint8))
    writer.release()
    assert meld("camera", "reference", tmp_path / "film.avi", tmp_path / "out.png") == 0
    saved = cv2.imread(str(tmp_path / "out.png"))
    assert saved is not None
    assert saved[0, 0, 2] > 180
    assert saved[0, 0, 0] < 60
