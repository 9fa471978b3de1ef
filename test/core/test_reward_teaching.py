"""What reward detectors are taught from: the LED tool and labels, on drawn pictures with counted pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from meld_core.config import load_config
from meld_core.detectors.label_sources import labels_of_film, labels_of_folder, parse_spans
from meld_core.detectors.labels import LabelError, join, load_labels, make_labels, save_labels, split_by_group
from meld_core.detectors.led_tool import LedError, brightest_and_darkest, choose_led, preview, write_choice
from meld_core.rewards import LedDetector

from .drawn_led import DARK_LED, LIT_LED, RED, labels, view


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
