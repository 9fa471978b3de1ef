"""What every driver-backed robot hears: joint states, and when pictures of its bench were taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSPresetProfiles
from sensor_msgs.msg import Image, JointState

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_states import JointHistory, JointSample, PictureClock
from meld_core.config import Config
from meld_core.sim.arm import JOINT_NAMES
from meld_ros import conversions as ros
from meld_ros.node_main import Background

_POLL = 0.05


class DriverSide:
    """A node of its own, served by a thread of its own: robot_node may be busy with a reset.

    Names are resolved by robot_node, so that its namespace and its remappings hold.
    """

    def __init__(
        self,
        config: Config,
        node: Node,
        history: JointHistory,
        pictures: PictureClock,
        on_joints: Callable[[JointState], None] = lambda _: None,
    ) -> None:
        self._history, self._pictures, self._robot_node = history, pictures, node
        self._timeout, self._also = config.driver.connect_timeout, on_joints
        self._waiting = threading.Event()
        self._refused: set[str] = set()
        self.node = Node(
            f"{node.get_name()}_driver",
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        qos = QoSPresetProfiles.SENSOR_DATA.value
        topics = (
            (JointState, config.driver.joint_states, self._on_joints),
            (Image, config.driver.image, self._on_picture),
        )
        for kind, name, callback in topics:
            self.node.create_subscription(kind, node.resolve_topic_name(name), callback, qos)
        self._background = Background(self.node, "driver")

    def start(self) -> None:
        """Begin to hear."""
        self._background.start()

    def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition holds; whether it does."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._waiting.wait(_POLL)
        return True

    def ask(self, kind: Any, service: str, request: Any, hint: str) -> Any:
        """Call a service of the driver. Raises ArmError where it does not answer; not from this node's own thread."""
        client: Client[Any, Any] = self.node.create_client(kind, self._robot_node.resolve_service_name(service))
        try:
            if self.until(client.service_is_ready, self._timeout):
                future = client.call_async(request)
                if self.until(future.done, self._timeout):
                    return future.result()
            raise ArmError(
                f"{client.service_name} does not answer within {self._timeout} s; {hint} [setting: "
                "driver.connect_timeout]"
            )
        finally:
            self.node.destroy_client(client)

    def _on_joints(self, msg: JointState) -> None:
        self._also(msg)
        now = self._robot_node.get_clock().now().nanoseconds
        try:
            positions, velocities = joints_by_name(msg)
        except ValueError as error:
            self._refuse(str(error))
            return
        stamp = ros.stamp_of(msg.header)
        self._history.add(JointSample(positions, velocities, stamp, time.monotonic(), (now - stamp) * 1e-9))

    def _on_picture(self, msg: Image) -> None:
        self._pictures.add(ros.stamp_of(msg.header))

    def _refuse(self, reason: str) -> None:
        """Say each reason once."""
        if reason not in self._refused:
            self._refused.add(reason)
            self._robot_node.get_logger().warning(f"refused: {reason}")

    def close(self) -> None:
        """End thread and node. Safe to call twice."""
        self._background.close()
        self.node.destroy_node()


def joints_by_name(msg: JointState) -> tuple[np.ndarray, np.ndarray]:
    """Positions [rad] and velocities [rad/s] of the arm's joints, (J,) float64 each; others (gripper) are left out.

    A driver that tells no velocities gives zeros: nothing is controlled by them.

    Raises:
        ValueError: where a joint or its position is missing.
    """
    names = list(msg.name)
    if missing := [name for name in JOINT_NAMES if name not in names]:
        raise ValueError(f"joint states without {', '.join(missing)} came; they have {', '.join(names) or 'no joints'}")
    order = [names.index(name) for name in JOINT_NAMES]
    if len(msg.position) != len(names) or len(msg.velocity) not in (0, len(names)):
        raise ValueError(
            f"joint states of {len(names)} joints came with {len(msg.position)} positions and {len(msg.velocity)} "
            "velocities"
        )
    positions = np.array(msg.position)[order]
    return positions, np.array(msg.velocity)[order] if len(msg.velocity) else np.zeros(len(order))
