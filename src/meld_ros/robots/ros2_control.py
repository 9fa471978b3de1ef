"""An arm behind ros2_control's joint_trajectory_controller: a real one, or Gazebo's through gz_ros2_control.

Standard messages only. Topics and semantics: ros2_controllers, joint_trajectory_controller/doc/trajectory.rst (a
trajectory with stamp zero begins at once and replaces the one under way; positions with velocities are joined by
cubics; after the last point its position is held).
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_path import JointPath
from meld_core.arm.joint_states import JointHistory, PictureClock
from meld_core.config import Config
from meld_core.sim.arm import JOINT_NAMES
from meld_ros.conversions import NANOSECONDS
from meld_ros.robots.driver_side import DriverSide


class Ros2ControlDriver:
    """Publishes joint trajectories, reads joint states."""

    def __init__(self, config: Config, node: Node, history: JointHistory, pictures: PictureClock) -> None:
        self._config, self._side = config.driver, DriverSide(config, node, history, pictures)
        topic = node.resolve_topic_name(config.driver.trajectory)
        self._publisher = self._side.node.create_publisher(JointTrajectory, topic, 1)

    def connect(self) -> np.ndarray:
        """Wait for the controller. Returns the rest pose of the settings."""
        self._side.start()
        timeout = self._config.connect_timeout
        if not self._side.until(lambda: self._publisher.get_subscription_count() > 0, timeout):
            raise ArmError(
                f"nobody listens to {self._publisher.topic_name} after {timeout} s; is the joint_trajectory_controller "
                "active? [settings: driver.trajectory, driver.connect_timeout]"
            )
        return np.array(self._config.rest_joints)

    def send(self, path: JointPath) -> None:
        """Publish a path as one trajectory that begins at once."""
        self._publisher.publish(trajectory_msg(path))

    def rested(self) -> None:
        """The controller goes on holding the rest pose."""

    def close(self) -> None:
        """End the subscriptions; the controller goes on holding."""
        self._side.close()


def trajectory_msg(path: JointPath) -> JointTrajectory:
    """A path as a message; stamp zero: begin at once."""
    msg = JointTrajectory(joint_names=list(JOINT_NAMES))
    for time, positions, velocities in zip(path.times, path.positions, path.velocities, strict=True):
        seconds, nanoseconds = divmod(round(float(time) * NANOSECONDS), NANOSECONDS)
        point = JointTrajectoryPoint(positions=positions.tolist(), velocities=velocities.tolist())
        point.time_from_start = Duration(sec=seconds, nanosec=nanoseconds)
        msg.points.append(point)
    return msg
