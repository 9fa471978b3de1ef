"""What every client of a person needs of the graph: the gate's state and the tool in, commands and requests out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import String

from meld_core.announce import GateReport
from meld_core.config import Config
from meld_core.teleop.session import MENU, Session
from meld_ros import conversions as ros
from meld_ros.qos import SENSOR_QOS

_LABELS = {"label_success": "success", "label_failure": "failure"}


class PersonLink:
    """A `Session` and its link to robot_node.

    Subscribes `gate_state`, `tool_pose`; publishes `teleop/action`, `teleop/let_go`, `label`; calls the services of a
    person.

    Args:
        node: Whose topics these are.
        config: Resolved.
        on_refused: Takes a sentence where a message cannot be understood.
        lock: Held while the session is told something, where another thread tells it, too.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        on_refused: Callable[[str], None],
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._on_refused, self._lock = on_refused, lock or nullcontext()
        self._scale = ros.ActionScale(config.robot.step_size, config.robot.control_period)
        self._action = ros.publisher(node, ros.TELEOP_ACTION)
        self._let_go = ros.publisher(node, ros.TELEOP_LET_GO)
        self._label = ros.publisher(node, ros.LABEL)
        self._services: dict[str, Any] = {
            name: node.create_client(ros.SERVICE, name) for name in MENU if name not in _LABELS
        }
        self.session = Session(config, self)
        ros.subscription(node, ros.GATE_STATE, self._on_gate)
        realtime = config.robot.mode == "realtime"
        ros.subscription(node, ros.TOOL_POSE, self._on_tool, SENSOR_QOS if realtime else None)
        node.create_timer(config.teleop.beat, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        with self._lock:
            self.session.tick()

    def _on_gate(self, msg: String) -> None:
        try:
            report = GateReport.from_json(msg.data)
            with self._lock:
                self.session.on_report(report)
        except ValueError as error:
            self._on_refused(str(error))

    def _on_tool(self, msg: PoseStamped) -> None:
        try:
            position = ros.pose_from_msg(msg)[0]
            with self._lock:
                self.session.on_tool(position, ros.stamp_of(msg.header))
        except ValueError as error:
            self._on_refused(str(error))

    def command(self, action: np.ndarray, stamp: int) -> None:
        """Link: send one action, or say the last one again."""
        self._action.publish(self._scale.to_msg(action, stamp))

    def let_go(self, reason: str) -> None:
        """Link: command no more, for now."""
        self._let_go.publish(String(data=reason))

    def request(self, name: str) -> None:
        """Link: call a service, or say a label."""
        if name in _LABELS:
            self._label.publish(String(data=_LABELS[name]))
            self.session.on_answer(name, True, "")
            return
        client = self._services[name]
        if not client.service_is_ready():
            self.session.on_answer(name, False, f"robot_node is not there (service {name})")
            return
        client.call_async(ros.SERVICE.Request()).add_done_callback(lambda future: self._on_answer(name, future))

    def _on_answer(self, name: str, future: Any) -> None:
        answer = future.result()
        with self._lock:
            self.session.on_answer(name, answer.success, answer.message)
