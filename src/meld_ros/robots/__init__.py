"""Robots that robot_node can host. Adding one is a class here and a file in config/robots."""

from __future__ import annotations

from collections.abc import Callable

from meld_core.config import Config, ConfigError, did_you_mean
from meld_core.hosting import BenchRobot


def _mujoco(config: Config) -> BenchRobot:
    from meld_ros.robots.mujoco import MujocoRobot  # a robot computer need not have mujoco

    return MujocoRobot(config)


ROBOTS: dict[str, Callable[[Config], BenchRobot]] = {"mujoco": _mujoco}
"""Name in `robot.kind` → what makes the robot, not yet connected."""


def make_robot(config: Config) -> BenchRobot:
    """The robot of a config. Raises ConfigError on an unknown kind."""
    kind = config.robot.kind
    if kind not in ROBOTS:
        raise ConfigError(f"unknown robot '{kind}'{did_you_mean(kind, ROBOTS)} [setting: robot.kind]")
    return ROBOTS[kind](config)
