"""teleop_node: a person's hand on the arm from RViz: interactive marker, clicked point, menu; and a joystick."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy

from meld_core.config import Config
from meld_ros.conversions import BASE_FRAME
from meld_ros.diagnostics import OK, WARN, Diagnostics
from meld_ros.marker_server import MarkerServer
from meld_ros.node_main import read_config, refuse_unknown, run_node
from meld_ros.person_link import PersonLink
from meld_ros.qos import SENSOR_QOS

_SHOW = 0.1
"""How often the marker follows the tool [s]."""
CLICKED_POINT, JOY = "clicked_point", "joy"


class TeleopNode(Node):
    """Turns what a person does in RViz or with a joystick into commands and requests (`Session`).

    Subscribes: `teleop/marker/feedback`, `clicked_point` (RViz's tool PublishPoint), `joy`, and what PersonLink does.
    Publishes: `teleop/marker/update`, and what PersonLink does. Serves `teleop/marker/get_interactive_markers`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("teleop", **kwargs)
        config = read_config(self, [field.name for field in dataclasses.fields(Config)])
        refuse_unknown(self)
        self.finished = False
        self._diagnostics = Diagnostics(self)
        self._session = PersonLink(self, config, lambda sentence: self._diagnostics.refuse("message", sentence)).session
        self._markers = MarkerServer(self, self._session.on_feedback, self._session.say)
        self._held: tuple[int, ...] = ()
        self._hand = ""
        self.create_subscription(PointStamped, CLICKED_POINT, self._on_clicked, 10)
        self.create_subscription(Joy, JOY, self._on_joy, SENSOR_QOS)
        self.create_timer(_SHOW, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_clicked(self, msg: PointStamped) -> None:
        if msg.header.frame_id != BASE_FRAME:
            self._session.say(f"a point in frame '{msg.header.frame_id}' was clicked, expected {BASE_FRAME}")
            return
        self._session.on_clicked(np.array([msg.point.x, msg.point.y, msg.point.z]))

    def _on_joy(self, msg: Joy) -> None:
        held = tuple(i for i, value in enumerate(msg.buttons) if value)
        pressed, self._held = [i for i in held if i not in self._held], held
        self._session.on_joystick(list(msg.axes), list(msg.buttons), pressed)

    def _on_timer(self) -> None:
        session = self._session
        if self._hand and not session.hand:
            self._markers.put_back()
        self._hand = session.hand
        if session.tool is not None:
            self._markers.show(session.tool)
        self._tell()

    def _tell(self) -> None:
        """What the session says goes to the log; how it stands, to diagnostics."""
        session = self._session
        for sentence in session.take_said():
            self.get_logger().info(sentence)
        report = session.report
        self._diagnostics.values = {
            "hand": session.hand,
            "waits for": report.waits_for if report else "",
            "refused clients": sum(session.refused.values()),
        }
        if report is None:
            self._diagnostics.state(WARN, "waiting for the robot")
        else:
            self._diagnostics.state(OK, f"gate {report.state.value}")

    def close(self) -> None:
        """robot_node misses the signs of life and holds."""


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(TeleopNode, args)


if __name__ == "__main__":
    main()
