"""What JointArm believes of its joint states, and what it does where they are lost or nonsense or a joint is dead."""

from __future__ import annotations

import numpy as np
import pytest

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_states import FollowWatch, JointHistory, JointSample, StaleStateError
from meld_core.sim.arm import JOINT_NAMES

from .arm_bench import Robot


def test_lost_joint_states_are_noticed() -> None:
    robot = Robot().ready()
    robot.bench.silent = True
    with pytest.raises(StaleStateError, match=r"joint states are lost: the newest is 0.1\d0 s old"):
        robot.live(0.2)
    with pytest.raises(StaleStateError):
        robot.apply(np.ones(3, np.float32))


def test_late_and_repeated_states_are_lost_ones() -> None:
    history = JointHistory(-np.ones(1), np.ones(1), np.ones(1), stale_after=0.1, clock=lambda: 7.0)
    assert history.add(JointSample(np.zeros(1), np.zeros(1), 10, received=7.0, late=0.3))
    assert not history.add(JointSample(np.zeros(1), np.zeros(1), 10, received=7.0))
    with pytest.raises(StaleStateError, match=r"0.300 s old"):
        history.newest()


@pytest.mark.parametrize("value", [-np.pi, 0.0, np.nan])
def test_nonsense_is_never_held(value: float) -> None:
    """Every joint at one value with fresh stamps (Interbotix after a failed bus read): hold means the place before."""
    robot = Robot().ready()
    robot.apply(np.array([1.0, 1.0, -1.0], np.float32))
    robot.live(0.1)
    before = robot.bench.joints.copy()
    robot.bench.nonsense = value
    for _ in range(100):
        robot.bench.advance()
    with pytest.raises(ArmError, match="cannot be believed"):
        robot.apply(np.zeros(3, np.float32))
    robot.hold()
    assert np.abs(robot.bench.sent[-1].goal - before).max() < 0.2 * 0.25
    place = robot.bench.sent[-1].goal
    robot.bench.nonsense = None
    robot.live(0.5)
    robot.hold()
    assert robot.bench.sent[-1].goal.tolist() == place.tolist()


@pytest.mark.parametrize(("joint", "axis"), [(0, 1), (1, 0), (2, 0), (4, 2), (5, 1)])
def test_a_dead_motor_is_named_within_half_a_second(joint: int, axis: int) -> None:
    """Along each axis some joints turn by 0.03 rad and more per step; one that need not turn tells nothing."""
    robot = Robot().ready()
    robot.live(0.5)
    action = -np.eye(3, dtype=np.float32)[axis]
    robot.apply(action)
    robot.live(0.1)
    robot.bench.dead = [joint]
    died = robot.bench.now
    robot.live(0.15)
    robot.apply(action)
    robot.live(0.25)
    robot.apply(action)
    with pytest.raises(ArmError, match=f"joint '{JOINT_NAMES[joint]}' does not follow"):
        robot.live(0.25)
    assert robot.bench.now - died <= 0.5


def test_an_arm_that_presses_against_something_is_no_dead_motor() -> None:
    robot = Robot().ready()
    robot.bench.dead = [1, 2, 4]
    for _ in range(8):
        robot.apply(np.array([0.0, 1.0, -1.0], np.float32))
        robot.live(0.25)


def test_a_servo_that_lags_and_falls_short_follows() -> None:
    watch, measured = FollowWatch(JOINT_NAMES, 0.3), np.zeros(6)
    for k in range(200):
        planned = np.full(6, 0.004 * k)
        measured = measured + 0.1 * (0.8 * planned - measured)
        assert watch.look(k * 0.01, planned, measured.copy()) == ""


def test_a_joint_that_is_blocked_for_a_moment_is_not_dead() -> None:
    """In contact one joint may stand still alone, but not for long."""
    watch, commanded = FollowWatch(JOINT_NAMES, 0.25), np.zeros(6)
    measured = np.zeros(6)
    for k in range(200):
        commanded = commanded + 0.004
        free = np.arange(6) > (0 if k % 45 < 38 else -1)
        measured = np.where(free, commanded, measured)
        assert watch.look(k * 0.01, commanded, measured.copy()) == ""


def test_a_dead_joint_is_found_though_its_command_comes_back_to_where_it_was() -> None:
    """Swings of 0.06 rad as long as the window: nothing between its ends. Known from 0.25 + 0.1 + 0.08 s on."""
    watch, said = FollowWatch(JOINT_NAMES, 0.25), list[tuple[int, str]]()
    for k in range(60):
        planned = np.full(6, 0.03 - 0.03 * np.cos(2 * np.pi * k / 25))
        measured = np.where(np.arange(6) == 2, 0.0, planned)
        said += [(k, reason)] if (reason := watch.look(k * 0.01, planned, measured)) else []
    assert said[0][0] in (43, 44)
    assert said[0][1].startswith("joint 'elbow' does not follow: it moved by 0.000 rad where 0.060 rad were commanded")
