"""What the adapters of driver-backed arms make of messages, and what they say where no driver is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_path import one_point, smooth_path
from meld_core.config import ConfigError
from meld_core.sim.arm import JOINT_NAMES
from meld_ros.graph import ROBOT
from meld_ros.robots import make_robot
from meld_ros.robots.driver_side import joints_by_name
from meld_ros.robots.ros2_control import trajectory_msg
from meld_ros.share import resolve_config

from .conftest import DEADLINE, Ros
from .stand_ins import parameters


def test_joints_are_read_by_name() -> None:
    """joint_state_broadcaster sorts names, and there are fingers between them."""
    names = sorted([*JOINT_NAMES, "left_finger", "gripper"])
    msg = JointState(name=names, position=[float(i) for i in range(8)], velocity=[10.0 + i for i in range(8)])
    positions, velocities = joints_by_name(msg)
    assert [names[int(i)] for i in positions] == list(JOINT_NAMES)
    assert (velocities - positions).tolist() == [10.0] * 6
    msg.velocity = []
    assert joints_by_name(msg)[1].tolist() == [0.0] * 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": ["waist", "shoulder"]}, "joint states without elbow, forearm_roll, wrist_angle, wrist_rotate came"),
        ({"position": [0.0]}, "joint states of 6 joints came with 1 positions and 0 velocities"),
        ({"velocity": [0.0]}, "joint states of 6 joints came with 6 positions and 1 velocities"),
    ],
)
def test_joint_states_that_say_too_little_are_refused(change: dict[str, list[float]], sentence: str) -> None:
    msg = JointState(**({"name": list(JOINT_NAMES), "position": [0.0] * 6} | change))
    with pytest.raises(ValueError, match=sentence):
        joints_by_name(msg)


def test_a_path_becomes_a_trajectory_that_begins_now_and_ends_at_rest() -> None:
    path = smooth_path(np.array([np.zeros(6), np.full(6, 0.6)]), 0.6)
    msg = trajectory_msg(path)
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (0, 0)
    assert list(msg.joint_names) == list(JOINT_NAMES)
    times = [point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in msg.points]
    assert times == pytest.approx(path.times.tolist())
    assert list(msg.points[-1].positions) == pytest.approx([0.6] * 6)
    assert list(msg.points[-1].velocities) == [0.0] * 6
    (point,) = trajectory_msg(one_point(np.arange(6.0), 0.25)).points
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 250_000_000)


def test_without_a_controller_connecting_ends_in_a_sentence(ros: Ros) -> None:
    config = resolve_config("ros2_control", overrides=["driver.connect_timeout=0.2"])
    robot = make_robot(config, ros.probe())
    assert robot.limits.joint_names == JOINT_NAMES
    with pytest.raises(ArmError, match=r"nobody listens to /driver/arm_controller/joint_trajectory after 0.2 s"):
        robot.connect()
    robot.close()


def test_a_driver_keeps_its_own_time(ros: Ros) -> None:
    config = resolve_config("ros2_control")
    lockstep = dataclasses.replace(config, robot=dataclasses.replace(config.robot, mode="lockstep"))
    with pytest.raises(ConfigError, match="a ros2_control robot runs in realtime only"):
        make_robot(lockstep, ros.probe())


def test_without_interbotix_messages_there_is_one_sentence_and_exit_code_2(ros: Ros) -> None:
    sentence = (
        "needs Interbotix's messages (interbotix_xs_msgs), which are not here; install them with `sudo apt install"
    )
    process = ros.start("meld_ros.robot_node", parameters(resolve_config("widowx"), *ROBOT.sections), "robot")
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert sentence in output
    assert "Traceback" not in output
