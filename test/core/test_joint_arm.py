"""JointArm over a driver of this test, in a time of its own: trust, staleness, resets, parking, dead joints."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_arm import JointArm
from meld_core.arm.joint_path import JointPath, smooth_path
from meld_core.arm.joint_states import FollowWatch, JointHistory, JointSample, PictureClock, StaleStateError
from meld_core.config import Config, ConfigError, DriverConfig, RobotConfig
from meld_core.kinematics import ArmKinematics
from meld_core.sim.arm import JOINT_NAMES, NOMINAL_JOINTS
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks

REST = np.array(DriverConfig().rest_joints)
STEP = 0.01
CONFIG = dataclasses.replace(Config(), robot=RobotConfig(kind="ros2_control", mode="realtime"))


class Bench:
    """An arm that follows its paths exactly, 100 states and 33 pictures a second."""

    def __init__(self, history: JointHistory, pictures: PictureClock) -> None:
        self.history, self.pictures = history, pictures
        self.now, self.joints = 100.0, REST.copy()
        self.sent: list[JointPath] = []
        self.begun, self.start = 0.0, self.joints
        self.dead: list[int] = []
        self.silent = self.blind = self.closed = False
        self.nonsense: float | None = None
        self.rests = 0
        history.wait = self.advance  # type: ignore[method-assign, assignment]

    def connect(self) -> np.ndarray:
        return REST

    def send(self, path: JointPath) -> None:
        self.sent.append(path)
        self.begun, self.start = self.now, self.joints.copy()

    def rested(self) -> None:
        self.rests += 1

    def close(self) -> None:
        self.closed = True

    def advance(self, timeout: float = 0.0) -> bool:
        self.now += STEP
        if self.sent:
            wanted = self.sent[-1].at(self.now - self.begun, self.start)
            alive = [joint for joint in range(6) if joint not in self.dead]
            self.joints[alive] = wanted[alive]
        stamp = round(self.now * 1e9)
        if not self.silent:
            told = self.joints.copy() if self.nonsense is None else np.full(6, self.nonsense)
            self.history.add(JointSample(told, np.zeros(6), stamp, self.now))
        if round(self.now / STEP) % 3 == 0 and not self.blind:
            self.pictures.add(stamp)
        return True


class Robot(JointArm):
    """The arm and its bench."""

    def __init__(self, config: Config = CONFIG) -> None:
        def make(history: JointHistory, pictures: PictureClock) -> Bench:
            self.bench = Bench(history, pictures)
            return self.bench

        super().__init__(config, make, clock=lambda: self.bench.now)
        self.task = make_tasks(config.task).sample("train", 3)

    def ready(self) -> Robot:
        self.connect()
        self.set_task(self.task)
        self.reset()
        return self

    def live(self, seconds: float) -> Any:
        """Let time pass and look at every state, as robot_node does."""
        for _ in range(round(seconds / STEP)):
            self.bench.advance()
            state = self.observe()
        return state


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
