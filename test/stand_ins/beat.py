"""Stand-ins that repeat themselves, a process of its own: a stop button, or a clock that others take their time from.

Parameter `what`: button (`stop_button` std_msgs/Bool at 50 Hz) or clock (`/clock` rosgraph_msgs/Clock at 200 Hz).
Faults by the parameter `fault`: pressed (button) | stop | shift:SECONDS (clock).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock as RclClock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from recorder import note
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool


class Beat(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("beat")
        self._is_clock = self.declare_parameter("what", "button").value == "clock"
        self.declare_parameter("fault", "")
        self._faults = str(self.declare_parameter("faults", "").value)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._fault, self._last = "", 0.0
        kind, topic, rate = (Clock, "/clock", 200) if self._is_clock else (Bool, "stop_button", 50)
        self._publisher = self.create_publisher(kind, topic, 1)
        self.create_timer(1.0 / rate, self._on_timer, clock=RclClock(clock_type=ClockType.STEADY_TIME))

    def _on_parameters(self, parameters: list[Any]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "fault":
                self._fault = str(parameter.value)
                note(self._faults, self._fault)
        return SetParametersResult(successful=True)

    def _on_timer(self) -> None:
        kind, _, value = self._fault.partition(":")
        if not self._is_clock:
            self._publisher.publish(Bool(data=kind == "pressed"))
            return
        if kind != "stop":
            self._last = time.time() + (float(value) if kind == "shift" else 0.0)
        msg = Clock()
        msg.clock.sec, msg.clock.nanosec = divmod(round(self._last * 1e9), 10**9)
        self._publisher.publish(msg)


def main() -> None:
    """Run until told to stop."""
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Beat())


if __name__ == "__main__":
    main()
