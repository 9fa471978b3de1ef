"""SimRobot: determinism, time, limits, stability, and an insertion that works."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from meld_core.config import ConfigError, load_config
from meld_core.sim.robot import SimRobot

from .sim_episodes import CONFIG, TASKS, connected_robot, episode, moves, plug_into

PERIOD = 250_000_000
robot = pytest.fixture(scope="module")(connected_robot)


def test_two_robots_give_identical_bytes(robot: SimRobot) -> None:
    task, actions = TASKS.sample("train", 7), moves(0, 25)
    other = SimRobot(CONFIG)
    other.connect()
    first = episode(other, task, actions)
    other.close()
    assert episode(robot, task, actions) == first


def test_nothing_is_left_of_an_earlier_task(robot: SimRobot) -> None:
    task, actions = TASKS.sample("train", 8), moves(1, 12)
    first = episode(robot, task, actions)
    episode(robot, TASKS.sample("train", 9), moves(2, 12))
    assert episode(robot, task, actions) == first


def test_every_reset_has_a_start_of_its_own_inside_the_workspace(robot: SimRobot) -> None:
    robot.set_task(TASKS.sample("train", 3))
    starts = []
    for _ in range(6):
        robot.reset()
        starts.append(robot.observe().tool_position)
    center = np.array([0.30, 0.0, 0.083])  # 12 mm below the workspace's top, 60 - 15 + 50 mm
    assert np.abs(np.array(starts) - center).max() <= 0.010 + 3e-5
    assert len({start.tobytes() for start in starts}) == 6
    robot.set_task(TASKS.sample("train", 3))
    robot.reset()
    np.testing.assert_array_equal(robot.observe().tool_position, starts[0])


def test_stamps_begin_above_zero_and_rise_by_one_period_across_resets() -> None:
    robot = SimRobot(CONFIG)
    robot.connect()
    stamps = [robot.observe().stamp]
    for seed in range(2):
        robot.set_task(TASKS.sample("train", seed))
        robot.reset()
        stamps.append(robot.observe().stamp)
        robot.apply(np.zeros(3, np.float32))
        robot.wait()
        stamps.append(robot.observe().stamp)
        assert {frame.stamp for frame in robot.views().values()} == {stamps[-1]}
    robot.close()
    assert stamps == [PERIOD * n for n in range(1, 6)]


def test_in_realtime_the_way_is_the_same_in_slices_and_stamps_are_of_the_clock() -> None:
    """A period of 0.25 s is 25 slices of 10 ms, as `wait` simulates it; afterwards the arm rests where it was aimed."""
    now = [10**18]
    realtime, lockstep = SimRobot(CONFIG, lambda: now[0]), SimRobot(CONFIG)
    for robot in (realtime, lockstep):
        robot.connect()
        robot.set_task(TASKS.sample("train", 3))
        robot.reset()
        robot.apply(np.array([0.5, -0.5, 0.2], np.float32))
    lockstep.wait()
    stamps = []
    for _ in range(25):
        now[0] += 10_400_000
        realtime.go_on()
        stamps.append(realtime.observe().stamp)
    assert realtime.observe().joints.tobytes() == lockstep.observe().joints.tobytes()
    assert stamps == [10**18 + 10_400_000 * i for i in range(1, 26)]
    now[0] -= 10**9  # the system's clock is set back
    for _ in range(30):
        realtime.go_on()
    assert realtime.observe().stamp == stamps[-1] + 30
    assert np.abs(realtime.observe().velocities).max() < 0.02
    for robot in (realtime, lockstep):
        robot.close()


def test_the_plug_goes_into_the_live_port_of_every_task(robot: SimRobot) -> None:
    steps = []
    for seed in range(20):
        task = TASKS.sample("validation", seed)
        robot.set_task(task)
        robot.reset()
        script, step = plug_into(task, task.live), 0
        while not robot.truth()["success"] and step < 15:
            robot.apply(script.act(robot.observe().tool_position))
            robot.wait()
            step += 1
        assert robot.truth() == {"success": 1.0, "shaped": pytest.approx(1.0, abs=0.15), "port": float(task.live)}
        steps.append(step)
    assert np.mean(steps) < 8


def test_random_episodes_are_stable(robot: SimRobot) -> None:
    """No warning, less than 2 mm of penetration, less than 3 rad/s."""
    data = robot._data
    deepest = fastest = 0.0
    for seed in range(15):
        robot.set_task(TASKS.sample("train", seed))
        robot.reset()
        for action in moves(seed, 40):
            robot.apply(action)
            robot.wait()
            deepest = max([deepest, *(-contact.dist for contact in data.contact)])
            fastest = max(fastest, float(np.abs(robot.observe().velocities).max()))
    assert deepest > 0.0
    assert deepest < 0.002
    assert fastest < 3.0
    assert [warning.number for warning in data.warning] == [0] * len(data.warning)


@pytest.mark.parametrize(("axis", "size"), [(0, 0.5), (1, -0.5), (2, -0.5)])
def test_an_action_moves_the_tool_along_its_axis(robot: SimRobot, axis: int, size: float) -> None:
    """Half a step is 10 mm; the servo arrives within 15 %."""
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    before = robot.observe().tool_position
    action = np.zeros(3, np.float32)
    action[axis] = size
    assert robot.apply(action).tobytes() == action.tobytes()
    robot.wait()
    moved = robot.observe().tool_position - before
    assert 0.0085 < moved[axis] * np.sign(size) < 0.0105
    assert np.abs(np.delete(moved, axis)).max() < 0.001


def test_zero_action_and_hold_keep_the_arm_still(robot: SimRobot) -> None:
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    start = robot.observe().tool_position
    for step in range(40):
        if step % 2:
            robot.hold()
        else:
            assert not robot.apply(np.zeros(3, np.float32)).any()
        robot.wait()
    assert np.abs(robot.observe().tool_position - start).max() < 0.0005


def test_actions_are_clamped_to_one_and_to_the_workspace(robot: SimRobot) -> None:
    robot.set_task(TASKS.sample("train", 0))
    robot.reset()
    assert robot.apply(np.array([5, -5, 0], np.float32)).tolist() == [1.0, -1.0, 0.0]
    for _ in range(8):
        executed = robot.apply(np.array([0, 1, 0], np.float32))
        robot.wait()
    assert robot.observe().tool_position[1] == pytest.approx(0.10, abs=0.003)
    assert abs(executed[1]) < 0.2


@pytest.mark.parametrize("action", [np.zeros(2), np.array([0, np.nan, 0])])
def test_a_malformed_action_is_refused(robot: SimRobot, action: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an action is 3 finite numbers"):
        robot.apply(action)


def test_limits_are_known_before_connecting() -> None:
    limits = SimRobot(CONFIG).limits
    np.testing.assert_allclose(limits.workspace_lower, [0.24, -0.10, 0.045])
    np.testing.assert_allclose(limits.workspace_upper, [0.36, 0.10, 0.095])
    assert limits.joint_names == ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
    assert (limits.step_size, limits.control_period) == (0.020, 0.25)


def test_a_workspace_out_of_reach_is_refused_when_connecting() -> None:
    robot = SimRobot(load_config(overrides=["task.box_center=[0.55, 0, 0.06]"]))
    with pytest.raises(ConfigError, match=r"the arm cannot reach the workspace corner .* task.box_center"):
        robot.connect()
    robot.close()


def test_calls_out_of_order_are_one_clear_sentence() -> None:
    robot = SimRobot(CONFIG)
    with pytest.raises(RuntimeError, match=r"not connected; call connect\(\) first"):
        robot.observe()
    robot.connect()
    with pytest.raises(RuntimeError, match=r"has no task; call set_task\(\) first"):
        robot.reset()
    robot.close()
    robot.close()
    with pytest.raises(RuntimeError, match="not connected"):
        robot.views()


def test_a_task_of_another_box_is_refused(robot: SimRobot) -> None:
    task = TASKS.sample("train", 0)
    with pytest.raises(ValueError, match="has 2 ports, the box has 3"):
        robot.set_task(dataclasses.replace(task, ports=task.ports[:2]))
