"""JointArm over a driver of these tests, in a time of its own: limits, connecting, paths, resets, parking."""

from __future__ import annotations

import numpy as np
import pytest

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_path import smooth_path
from meld_core.config import Config, ConfigError, DriverConfig
from meld_core.kinematics import ArmKinematics
from meld_core.sim.arm import JOINT_NAMES, NOMINAL_JOINTS
from meld_core.sim.robot import SimRobot

from .arm_bench import CONFIG, REST, Robot


def test_limits_are_known_before_connecting_and_lockstep_is_refused() -> None:
    assert Robot().limits.joint_names == JOINT_NAMES
    with pytest.raises(ConfigError, match=r"a mujoco robot runs in realtime only \[setting: robot.mode\]"):
        Robot(Config())


def test_without_joint_states_connecting_ends_in_a_sentence() -> None:
    robot = Robot()
    robot.bench.silent = True
    with pytest.raises(ArmError, match=r"no usable joint states came on driver/joint_states within 10.0 s"):
        robot.connect()


def test_reset_starts_where_the_simulation_starts() -> None:
    robot = Robot().ready()
    simulated = SimRobot(CONFIG)
    simulated.connect()
    simulated.set_task(robot.task)
    for _ in range(2):
        simulated.reset()
        state, frames, truth = robot.look()
        assert np.abs(state.tool_position - simulated.observe().tool_position).max() < 1e-4
        assert (frames, truth) == ({}, {})
        robot.reset()
    simulated.close()


def test_a_path_leaves_a_port_straight_up_and_clears_the_table() -> None:
    robot, kinematics = Robot().ready(), ArmKinematics()
    port = np.array(robot.task.ports[0]) - [0, 0, 0.010]
    seated = kinematics.inverse(port, np.array([0, np.sqrt(0.5), 0, np.sqrt(0.5)]))
    for path in (
        robot._planner.to_start(seated, np.array([0.3, 0.05, 0.08]), 0.6),
        robot._planner.to_rest(seated, REST, 0.6),
    ):
        tools = np.array([kinematics.forward(joints)[0] for joints in path.positions])
        inside = tools[: int((tools[:, 2] > port[2] + 0.012).argmax())]
        assert np.abs(inside[:, :2] - port[:2]).max() < 0.001
        assert tools[:, 2].min() >= port[2] - 1e-3
        assert np.abs(path.velocities[-1]).max() == 0
    far = robot._planner.to_start(REST, np.array([0.3, 0.05, 0.08]), 0.6)
    assert min(kinematics.forward(joints)[0][2] for joints in far.positions) > 0.05


def test_a_smooth_path_keeps_its_speed() -> None:
    path = smooth_path(np.array([np.zeros(6), np.full(6, 0.6)]), 0.6)
    assert path.duration == pytest.approx(1.0)
    assert np.abs(path.velocities).max() == pytest.approx(0.6 * np.pi / 2, rel=0.02)
    assert path.goal.tolist() == pytest.approx([0.6] * 6)


def test_an_action_moves_the_tool_by_its_step_and_stays_in_the_box() -> None:
    robot = Robot().ready()
    before = robot.observe().tool_position
    assert robot.apply(np.array([0.5, -1.0, 0.0], np.float32)).tolist() == [0.5, -1.0, 0.0]
    assert robot.bench.sent[-1].duration == 0.25
    moved = robot.live(0.3).tool_position - before
    assert moved == pytest.approx([0.010, -0.020, 0.0], abs=2e-4)
    for _ in range(12):
        clamped = robot.apply(np.array([0.0, -9.0, 0.0], np.float32))
        state = robot.live(0.25)
    assert state.tool_position[1] == pytest.approx(robot.limits.workspace_lower[1], abs=2e-4)
    assert clamped[1] == pytest.approx(0.0, abs=0.02)
    with pytest.raises(ValueError, match="3 finite numbers"):
        robot.apply(np.array([np.nan, 0, 0], np.float32))


def test_a_hold_during_reset_interrupts_it() -> None:
    robot = Robot()
    robot.connect()
    robot.set_task(robot.task)
    advance, calls = robot.bench.advance, []

    def interfere(timeout: float = 0.0) -> bool:
        calls.append(1)
        if len(calls) == 50:
            robot.hold()
        return advance()

    robot._history.wait = interfere  # type: ignore[method-assign, assignment]
    with pytest.raises(ArmError, match="the way to the start pose was interrupted"):
        robot.reset()
    assert len(robot.bench.sent[-1].times) == 1
    at = robot.bench.joints.copy()
    robot.live(0.5)
    assert np.abs(robot.bench.joints - at).max() < 0.05


def test_a_reset_without_pictures_or_without_motion_ends_in_a_sentence() -> None:
    blind = Robot()
    blind.bench.blind = True
    with pytest.raises(ArmError, match="no picture came on image; is the camera running"):
        blind.ready()
    stuck = Robot()
    stuck.bench.dead = list(range(6))
    with pytest.raises(ArmError, match="the arm did not arrive at its start pose: joint 'shoulder' is 1."):
        stuck.ready()


def test_closing_parks_once_unless_told_not_to_or_not_safe() -> None:
    robot = Robot().ready()
    robot.close()
    robot.close()
    assert np.abs(robot.bench.joints - REST).max() < 1e-6
    assert (robot.bench.rests, robot.bench.closed) == (1, True)
    stopped = Robot().ready()
    count = len(stopped.bench.sent)
    stopped.close(park=False)
    assert (len(stopped.bench.sent), stopped.bench.rests, stopped.bench.closed) == (count, 0, True)
    lost = Robot().ready()
    lost.bench.silent, place = True, lost.bench.joints.copy()
    for _ in range(20):
        lost.bench.advance()
    lost.close()
    assert lost.bench.rests == 0
    assert np.abs(lost.bench.sent[-1].goal - place).max() < 1e-6


def test_nominal_joints_are_within_reach_of_rest() -> None:
    path = smooth_path(np.array([REST, NOMINAL_JOINTS]), DriverConfig().park_speed)
    assert path.duration < 3.0
