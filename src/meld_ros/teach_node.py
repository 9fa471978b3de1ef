"""teach: takes the tool's pose at each port when a person confirms, by key or by the service `teach`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from meld_core.announce import GateReport
from meld_core.robot import GateState
from meld_core.teaching import StillPose, TeachError, Teaching
from meld_ros import conversions as ros
from meld_ros.keys import pressed_keys
from meld_ros.node_main import Background
from meld_ros.qos import SENSOR_QOS

_CONFIRM = ("\n", "\r", " ", "t")
_ASK_AGAIN = 2.0
"""The arm is asked for this often while it is not given to the person [s]."""


class TeachNode(Node):
    """Hears where the tool is; teaches one port after the other.

    Subscribes: `tool_pose`, `gate_state`. Serves: `teach` (take the pose now). Calls `start_reset` while the arm holds:
    only an arm that is given to a person tells its pose between episodes. It moves nothing; `meld teleop` does.
    """

    def __init__(self, teaching: Teaching, say: Callable[[str], None], **kwargs: Any) -> None:
        super().__init__("teach", **kwargs)
        self._teaching, self._say = teaching, say
        self._lock = threading.Lock()
        self._pose = StillPose()
        self._take_arm: Any = self.create_client(ros.SERVICE, ros.START_RESET)
        self._asked = 0.0
        self.finished = threading.Event()
        """Every port is taught."""
        ros.subscription(self, ros.TOOL_POSE, self._on_pose, SENSOR_QOS)
        ros.subscription(self, ros.GATE_STATE, self._on_gate)
        self.create_service(ros.SERVICE, "teach", self._on_teach)
        say(teaching.prompt)

    def _on_pose(self, msg: PoseStamped) -> None:
        try:
            position, _ = ros.pose_from_msg(msg)
        except ValueError as error:
            self._say(str(error))
            return
        self._pose.add(time.monotonic(), ros.stamp_of(msg.header), position)

    def _on_gate(self, msg: String) -> None:
        holds = GateReport.from_json(msg.data).state is GateState.HOLD
        if holds and self._take_arm.service_is_ready() and time.monotonic() - self._asked > _ASK_AGAIN:
            self._asked = time.monotonic()
            self._take_arm.call_async(ros.SERVICE.Request())

    def _on_teach(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.teach()
        return response

    def teach(self) -> tuple[bool, str]:
        """Take the pose now. Whether it was taken, and one sentence about it."""
        with self._lock:
            before = self._teaching.prompt
            try:
                done, said = True, self._teaching.add(self._pose.take(time.monotonic()))
            except TeachError as error:
                done, said = False, str(error)
        self._say(said)
        if self._teaching.prompt != before:
            self._say(self._teaching.prompt)
        if self._teaching.finished:
            self.finished.set()
        return done, said


def teach_live(teaching: Teaching, namespace: str) -> None:
    """Teach until every port is taught. Raises TeachError where the person ends it before."""
    rclpy.init()
    node = TeachNode(teaching, lambda text: print(text, file=sys.stderr, flush=True), namespace=namespace)
    background = Background(node, "teach")
    background.start()
    try:
        for key in pressed_keys(lambda: teaching.finished):
            if key in _CONFIRM:
                node.teach()
        if not sys.stdin.isatty() and not teaching.finished:  # by the service alone
            node.finished.wait()
        if not teaching.finished:
            raise TeachError(f"ended before the last port: {teaching.prompt}")
    finally:
        background.close()
        node.destroy_node()
        rclpy.try_shutdown()
