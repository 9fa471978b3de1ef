"""Pictures of SimRobot: they hide the task from the policy, are disturbed repeatably, and are fine for people."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from meld_core.config import load_config
from meld_core.sim.robot import SimRobot
from meld_core.types import Frame

from .sim_episodes import TASKS, connected_robot, episode, moves, plug_into

robot = pytest.fixture(scope="module")(connected_robot)


def test_policy_views_are_pixel_identical_whichever_port_is_live(robot: SimRobot) -> None:
    """Equal actions and poses, plug seated in port 0: the LED is lit for one task and dark for the others."""
    base = TASKS.sample("validation", 1)
    policy: list[list[bytes]] = []
    detector: list[bytes] = []
    success: list[float] = []
    for live in range(3):
        task = dataclasses.replace(base, live=live)
        robot.set_task(task)
        robot.reset()
        script, pictures = plug_into(task, 0), []
        for _ in range(8):
            robot.apply(script.act(robot.observe().tool_position))
            robot.wait()
            pictures.append(robot.views()["policy"].pixels.tobytes())
        policy.append(pictures)
        detector.append(robot.views()["detector"].pixels.tobytes())
        success.append(robot.truth()["success"])
        assert robot.truth()["port"] == 0.0
    assert success == [1.0, 0.0, 0.0]
    assert policy[0] == policy[1] == policy[2]
    assert detector[1] == detector[2]
    assert detector[0] != detector[1]


def test_disturbances_are_repeatable_and_visible() -> None:
    config = load_config(overrides=["sim.camera_jitter=0.02", "sim.light_jitter=0.3", "sim.image_noise=8"])
    task, actions = TASKS.sample("train", 7), moves(3, 4)
    disturbed = SimRobot(config)
    disturbed.connect()
    first = episode(disturbed, task, actions)
    assert episode(disturbed, task, actions) == first
    disturbed.set_task(task)
    disturbed.reset()
    noisy = disturbed.views()["policy"].pixels
    disturbed.reset()
    assert (disturbed.views()["policy"].pixels != noisy).any()
    disturbed.close()


def test_views_are_stacked_and_named(robot: SimRobot) -> None:
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    views = robot.views()
    assert {name: (v.pixels.shape, v.pixels.dtype, v.frame_id) for name, v in views.items()} == {
        "policy": ((128, 64, 3), np.uint8, "policy_optical"),
        "detector": ((64, 64, 3), np.uint8, "detector_optical"),
    }
    assert all(isinstance(view, Frame) and view.pixels.std() > 20 for view in views.values())


def test_pictures_can_be_taken_from_another_thread(robot: SimRobot) -> None:
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    here = robot.views()["policy"].pixels
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    there: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: there.append(robot.views()["policy"].pixels))
    thread.start()
    thread.join(timeout=30)
    np.testing.assert_array_equal(there[0], here)


def test_pictures_for_people_show_the_led_to_the_detector_only(robot: SimRobot) -> None:
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    before = robot.views()["policy"].pixels.copy()
    shapes = {name: robot.picture(name, 96).shape for name in ("bench", "external", "wrist", "detector")}
    assert set(shapes.values()) == {(96, 96, 3)}
    robot.hold()
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    np.testing.assert_array_equal(robot.views()["policy"].pixels, before)  # fine pictures leave no trace
