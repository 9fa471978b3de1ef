"""The LED detector on drawn frames with counted pixels, and on simulated episodes against the simulator's truth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from meld_core.config import Config, ConfigError, RewardConfig
from meld_core.rewards import LedDetector, make_detector
from meld_core.scripted_search import ScriptedSearch
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks
from meld_core.types import Frame, Reward

GREEN = (20, 255, 60)
CONFIG = RewardConfig()


def frames(lit: int, background: int = 90, color: tuple[int, int, int] = GREEN) -> dict[str, Frame]:
    """A grey view with `lit` coloured pixels in the middle."""
    pixels = np.full((64, 64, 3), background, np.uint8)
    pixels[32, 24 : 24 + lit] = color
    return {"detector": Frame(pixels, 1, "detector_optical")}


@pytest.mark.parametrize(("lit", "success", "probability"), [(0, False, 0.0), (5, False, 5 / 12), (6, True, 0.5)])
def test_success_is_enough_lit_pixels(lit: int, success: bool, probability: float) -> None:
    reward = LedDetector(CONFIG)(frames(lit))
    assert reward == Reward(float(success), success, pytest.approx(probability))


def test_twice_the_needed_pixels_are_certain() -> None:
    assert LedDetector(CONFIG)(frames(13)).probability == 1.0


@pytest.mark.parametrize("color", [(255, 40, 40), (40, 40, 255), (255, 255, 255), (30, 60, 35)])
def test_other_colours_do_not_count(color: tuple[int, int, int]) -> None:
    assert not LedDetector(CONFIG)(frames(12, color=color)).success


def test_pixels_outside_the_region_do_not_count() -> None:
    config = dataclasses.replace(CONFIG, region=(0, 40, 64, 24))
    assert not LedDetector(config)(frames(12)).success


def test_a_dark_view_is_no_judgement_rather_than_a_failure() -> None:
    reward = LedDetector(CONFIG)(frames(0, background=7))
    assert not reward.valid
    assert math.isnan(reward.reward)


def test_a_missing_view_is_no_judgement() -> None:
    assert not LedDetector(CONFIG)({}).valid


def test_debounce_counts_back_and_starts_again_after_a_gap() -> None:
    detector = LedDetector(dataclasses.replace(CONFIG, debounce=3))
    seen = [detector(frames(lit)).success for lit in (9, 9, 0, 9, 9, 9, 9)]
    assert seen == [False, False, False, False, False, True, True]


def test_debounce_does_not_bridge_an_unjudged_frame() -> None:
    detector = LedDetector(dataclasses.replace(CONFIG, debounce=2))
    assert not detector(frames(9)).success
    assert not detector({}).valid
    assert not detector(frames(9)).success


def test_reset_forgets_earlier_frames() -> None:
    detector = LedDetector(dataclasses.replace(CONFIG, debounce=2))
    detector(frames(9))
    detector.reset()
    assert not detector(frames(9)).success


def test_a_region_beyond_the_view_is_one_clear_sentence() -> None:
    detector = LedDetector(dataclasses.replace(CONFIG, region=(40, 0, 32, 32)))
    with pytest.raises(
        ConfigError, match=r"reward.region \[40, 0, 32, 32\] .* does not fit the detector view of 64 x 64"
    ):
        detector(frames(0))


def test_unknown_kind_names_the_close_one() -> None:
    with pytest.raises(ConfigError, match="unknown reward detector 'ledd'; did you mean 'led'"):
        make_detector(dataclasses.replace(CONFIG, kind="ledd"))


def test_detector_agrees_with_the_simulator_over_100_episodes() -> None:
    """The scripted search also enters wrong ports: precision and recall are 1 on every step."""
    config = Config()
    tasks, detector, robot = make_tasks(config.task), make_detector(config.reward), SimRobot(config)
    robot.connect()
    agree, successes, wrong_ports = 0, 0, 0
    for seed in range(100):
        task = tasks.sample("validation", seed)
        robot.set_task(task)
        robot.reset()
        detector.reset()
        search = ScriptedSearch(task, config)
        for _ in range(12):
            truth = robot.truth()
            judged = detector(robot.views(), robot.observe())
            assert judged.valid
            assert judged.success == bool(truth["success"]), (task.id, truth)
            agree += 1
            successes += judged.success
            wrong_ports += truth["port"] not in (-1.0, float(task.live))
            if judged.success:
                break
            robot.apply(search.act(robot.observe().tool_position))
            robot.wait()
    robot.close()
    assert agree > 500
    assert successes > 50
    assert wrong_ports > 50
