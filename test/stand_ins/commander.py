"""Stand-in for a policy, a process of its own: announces, resets, and answers every step with a command.

It shares no code with policy_node; topics and fields are those of docs/ARCHITECTURE.md ("One step") and of the messages
on the wire. It moves the tool to and fro along one axis and begins a new trial whenever the gate is back in HOLD.
Faults are set by the parameter `fault`: stale | future | nan | inf | frame | rotation | fast | push:AXIS,SIGN |
late:SECONDS.
"""

from __future__ import annotations

import json
import math
import uuid
from contextlib import suppress
from typing import Any

import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile
from recorder import note
from std_msgs.msg import String
from std_srvs.srv import Trigger

_PATIENCE = 20
"""What gets no answer is said again after so many looks at 20 Hz."""


class Commander(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("commander")
        self._announcement = json.loads(self.declare_parameter("announcement", "{}").value)
        self._axis = int(self.declare_parameter("axis", 1).value)
        self._center = list(self.declare_parameter("center", [0.30, 0.0, 0.072]).value)
        self._speed = float(self.declare_parameter("step_size", 0.02).value) / float(
            self.declare_parameter("control_period", 0.25).value
        )
        self._leads = bool(self.declare_parameter("leads", True).value)
        lease = float(self.declare_parameter("lease", 0.1).value)
        self.declare_parameter("fault", "")
        self._faults = str(self.declare_parameter("faults", "").value)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._fault, self._sign, self._gate, self._waited = "", 1.0, {}, _PATIENCE
        self._key = {"boot": uuid.uuid4().hex, "trial": 0}
        self._begun = False
        self._late: list[Any] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        leased = QoSProfile(depth=10, liveliness=LivelinessPolicy.AUTOMATIC)
        leased.liveliness_lease_duration = Duration(nanoseconds=round(lease * 1e9))
        self._action = self.create_publisher(TwistStamped, "action", leased)
        self._task = self.create_publisher(String, "task", latched)
        self._reset = self.create_client(Trigger, "reset")
        self.create_subscription(String, "gate_state", self._on_gate, latched)
        self.create_subscription(PoseStamped, "tool_pose", self._on_step, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.05, self._on_timer, clock=steady)
        self._steady = steady

    def _on_parameters(self, parameters: list[Any]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "fault":
                self._fault = str(parameter.value)
                note(self._faults, self._fault)
        return SetParametersResult(successful=True)

    def _on_gate(self, msg: String) -> None:
        self._gate = json.loads(msg.data)

    def _on_timer(self) -> None:
        """Ask for a reset of the next trial wherever nobody commands; again where nothing came of it."""
        if not self._leads or self._gate.get("state") not in ("HOLD", "STOPPED"):
            self._waited = _PATIENCE
            return
        echoed = all(self._gate.get(name) == value for name, value in self._key.items())
        if self._begun and echoed and self._gate["reset_stamp"] == 0 and self._reset.service_is_ready():
            self._waited += 1
            if self._waited >= _PATIENCE:
                self._waited = 0
                self._reset.call_async(Trigger.Request())
            return
        self._waited += 1
        if self._waited >= _PATIENCE or (self._begun and echoed):
            self._waited = 0
            self._key["trial"] += int(self._begun and echoed)
            self._begun = True
            self._task.publish(String(data=json.dumps(self._announcement | self._key)))

    def _on_step(self, msg: PoseStamped) -> None:
        if self._gate.get("state") != "POLICY":
            return
        place = (msg.pose.position.x, msg.pose.position.y, msg.pose.position.z)
        off = place[self._axis] - self._center[self._axis]
        self._sign = -1.0 if off > 0.02 else 1.0 if off < -0.02 else self._sign
        velocity = [0.0, 0.0, 0.0]
        velocity[self._axis] = self._sign * self._speed
        command = TwistStamped()
        command.header.stamp, command.header.frame_id = msg.header.stamp, "base_link"
        self._spoil(command, velocity)
        linear = command.twist.linear
        linear.x, linear.y, linear.z = velocity
        kind, _, value = self._fault.partition(":")
        if kind == "late":
            self._send_later(command, float(value))
        else:
            self._action.publish(command)

    def _spoil(self, command: TwistStamped, velocity: list[float]) -> None:
        kind, _, value = self._fault.partition(":")
        if kind == "stale":
            command.header.stamp.sec -= 1
        elif kind == "future":
            command.header.stamp.sec += 1
        elif kind in ("nan", "inf"):
            velocity[self._axis] = math.nan if kind == "nan" else math.inf
        elif kind == "frame":
            command.header.frame_id = "wrist"
        elif kind == "rotation":
            command.twist.angular.z = 0.5
        elif kind == "fast":
            velocity[self._axis] *= 10.0
        elif kind == "push":
            axis, sign = value.split(",")
            velocity[:] = [0.0, 0.0, 0.0]
            velocity[int(axis)] = float(sign) * self._speed

    def _send_later(self, command: TwistStamped, seconds: float) -> None:
        """Inference that takes too long: one at a time, the newest observation at its begin."""
        if self._late:
            return

        def send() -> None:
            self._action.publish(command)
            self.destroy_timer(self._late.pop())

        self._late.append(self.create_timer(seconds, send, clock=self._steady))


def main() -> None:
    """Run until told to stop."""
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Commander())


if __name__ == "__main__":
    main()
