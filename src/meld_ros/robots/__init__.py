"""Robots that robot_node can host. Adding one is a class here and a file in config/robots."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meld_core.config import Config, ConfigError, did_you_mean
from meld_core.host import BenchRobot

if TYPE_CHECKING:
    from rclpy.node import Node


def _mujoco(config: Config, _: Node) -> BenchRobot:
    from meld_ros.robots.mujoco import MujocoRobot  # a robot computer need not have mujoco

    return MujocoRobot(config)


def _ros2_control(config: Config, node: Node) -> BenchRobot:
    from meld_core.arm.joint_arm import JointArm
    from meld_ros.robots.ros2_control import Ros2ControlDriver

    return JointArm(config, lambda history, pictures: Ros2ControlDriver(config, node, history, pictures))


def _widowx(config: Config, node: Node) -> BenchRobot:
    from meld_core.arm.joint_arm import JointArm
    from meld_ros.robots.widowx import WidowxDriver

    return JointArm(config, lambda history, pictures: WidowxDriver(config, node, history, pictures))


ROBOTS: dict[str, Callable[[Config, Node], BenchRobot]] = {
    "mujoco": _mujoco,
    "ros2_control": _ros2_control,
    "widowx": _widowx,
}
"""Name in `robot.kind` → what makes the robot, not yet connected. The node gives context, namespace and remappings."""


def make_robot(config: Config, node: Node) -> BenchRobot:
    """The robot of a config. Raises ConfigError on an unknown kind."""
    kind = config.robot.kind
    if kind not in ROBOTS:
        raise ConfigError(f"unknown robot '{kind}'{did_you_mean(kind, ROBOTS)} [setting: robot.kind]")
    return ROBOTS[kind](config, node)
