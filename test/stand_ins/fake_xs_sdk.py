"""Stand-in for Interbotix's xs_sdk with a WidowX 250s, a process of its own.

Where each behaviour comes from (github.com/Interbotix, branch humble):
- names, fields, units: interbotix_ros_core, interbotix_xs_msgs; the definitions beside this file say the same;
- joint_states at 100 Hz, its order, default profile 2000/300 ms: interbotix_xsarm_control/config/{wx250s,modes}.yaml;
- a time profile: the servo goes from where it is to its goal within Profile_Velocity ms (Dynamixel XM430 e-manual,
  Drive Mode bit 2, Profile_Velocity as a duration); a new goal begins anew from where the profile is;
- limits in get_robot_info are the URDF's, sleep positions those of wx250s.yaml; for the gripper all is told of its
  left finger (RobotInfo.srv);
- commands are not checked: no limits, no NaN (that is done in its Python arm class); a failed bus read publishes raw 0
  of every motor, freshly stamped; raw 0 is -pi (X-series, 4096 steps, 2048 at 0 rad);
- set_operating_modes switches torque off and on again: the arm drops meanwhile;
- in mode pwm nothing stops the gripper at the finger limits.
Faults by the parameter `fault`: silence | jump:VALUE | bus | dead:JOINT. What no client may do (drop the arm, drive the
fingers against their stops, command a NaN or beyond a limit) is said on `stand_in/wrongs` std_msgs/String.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

import numpy as np
import rclpy
from bench import ARM, SLEEP, Bench
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo, TorqueEnable
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

RATE = 100.0
LOWER = (-math.pi + 1e-5, -1.88496, -2.14675, -math.pi + 1e-5, -1.74533, -math.pi + 1e-5)
UPPER = (math.pi - 1e-5, 1.98968, 1.60570, math.pi - 1e-5, 2.14675, math.pi - 1e-5)
FINGER = (0.015, 0.037)
"""URDF limits of left_finger [m]."""
STOPS = (0.010, 0.042)
"""Where the fingers meet metal [m]; ours."""


class FakeXsSdk(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("fake_xs_sdk")
        name = str(self.declare_parameter("robot_name", "wx250s").value)
        self._size = int(self.declare_parameter("image_size", 32).value)
        start = tuple(self.declare_parameter("start", list(SLEEP)).value)
        self._mode = str(self.declare_parameter("mode", "position").value)
        self.declare_parameter("fault", "")
        self.add_on_set_parameters_callback(self._on_parameters)
        self._bench, self._fault, self._count = Bench(start), "", 0
        self._registers = {"Profile_Velocity": 2000, "Profile_Acceleration": 300, "Torque_Enable": 1}
        self._start, self._goal, self._begun = np.array(start), np.array(start), 0.0
        self._pwm, self._finger, self._then = 0.0, 0.020, time.monotonic()
        self._states = self.create_publisher(JointState, f"/{name}/joint_states", 10)
        self._truth = self.create_publisher(JointState, "stand_in/joints", 10)
        self._image = self.create_publisher(Image, "image", 5)
        self._detector = self.create_publisher(Image, "detector_image", 5)
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._wrongs = self.create_publisher(String, "stand_in/wrongs", latched)
        self._subscribe(name)
        self.create_timer(1.0 / RATE, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _subscribe(self, name: str) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(JointGroupCommand, f"/{name}/commands/joint_group", self._on_group, 10)
        self.create_subscription(JointSingleCommand, f"/{name}/commands/joint_single", self._on_single, 10)
        self.create_subscription(String, "task", lambda msg: self._bench.set_task(msg.data), latched)
        for kind, service, serve in (
            (RobotInfo, "get_robot_info", self._on_info),
            (RegisterValues, "set_motor_registers", self._on_set_registers),
            (RegisterValues, "get_motor_registers", self._on_get_registers),
            (OperatingModes, "set_operating_modes", self._on_modes),
            (TorqueEnable, "torque_enable", self._on_torque),
        ):
            self.create_service(kind, f"/{name}/{service}", serve)

    def _wrong(self, sentence: str) -> None:
        self._wrongs.publish(String(data=sentence))

    def _on_parameters(self, parameters: list[Any]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "fault":
                self._fault = str(parameter.value)
                kind, _, value = self._fault.partition(":")
                self._bench.dead = ARM.index(value) if kind == "dead" else None
        return SetParametersResult(successful=True)

    def _on_group(self, msg: JointGroupCommand) -> None:
        goal = np.array(msg.cmd, np.float64)
        if msg.name != "arm" or goal.shape != (6,) or not self._registers["Torque_Enable"]:
            self._wrong(f"a command for group '{msg.name}' with {len(goal)} values")
            return
        if not np.isfinite(goal).all():
            self._wrong("a NaN was commanded")
            goal = np.where(np.isfinite(goal), goal, -math.pi)
        if ((goal < np.array(LOWER) - 1e-4) | (goal > np.array(UPPER) + 1e-4)).any():
            self._wrong(f"{goal.round(3).tolist()} rad were commanded, beyond the limits")
        self._catch_up()
        now = time.monotonic()
        self._start, self._goal, self._begun = self._profiled(now), goal, now

    def _catch_up(self) -> None:
        for _ in self._bench.advance(self._profiled):
            pass

    def _profiled(self, now: float) -> np.ndarray:
        span = max(self._registers["Profile_Velocity"] * 1e-3, 1e-3)
        share = min(max(now - self._begun, 0.0) / span, 1.0)
        return self._start + (self._goal - self._start) * (3 * share**2 - 2 * share**3)

    def _on_single(self, msg: JointSingleCommand) -> None:
        if msg.name == "gripper":
            self._pwm = float(msg.cmd)

    def _on_info(self, request: RobotInfo.Request, response: RobotInfo.Response) -> RobotInfo.Response:
        if (request.cmd_type, request.name) == ("group", "arm"):
            response.mode, response.profile_type = self._mode, "time"
            response.joint_names, response.joint_ids = list(ARM), [1, 2, 4, 6, 7, 8]
            response.joint_lower_limits, response.joint_upper_limits = list(LOWER), list(UPPER)
            response.joint_velocity_limits = [math.pi] * 6
            response.joint_sleep_positions, response.joint_state_indices = list(SLEEP), list(range(6))
        else:
            response.mode, response.profile_type = "pwm", "velocity"
            response.joint_names, response.joint_ids = ["left_finger"], [9]
            response.joint_lower_limits, response.joint_upper_limits = [FINGER[0]], [FINGER[1]]
            response.joint_velocity_limits, response.joint_sleep_positions = [1.0], [0.0]
            response.joint_state_indices = [6]
        response.num_joints, response.name = len(response.joint_names), [request.name]
        return response

    def _on_set_registers(self, request: Any, response: Any) -> Any:
        if request.name == "arm":
            self._registers[request.reg] = request.value
        return response

    def _on_get_registers(self, request: Any, response: Any) -> Any:
        response.values = [self._registers.get(request.reg, 0)] * 6
        return response

    def _on_modes(self, request: Any, response: Any) -> Any:
        self._wrong("set_operating_modes dropped the arm")
        self._mode = request.mode
        return response

    def _on_torque(self, request: Any, response: Any) -> Any:
        if not request.enable and np.abs(self._bench.joints - np.array(SLEEP)).max() > 0.2:
            self._wrong("torque_enable dropped the arm")
        self._registers["Torque_Enable"] = int(request.enable)
        return response

    def _on_timer(self) -> None:
        self._move_fingers()
        self._catch_up()
        stamp = self.get_clock().now().to_msg()
        self._truth.publish(self._joint_state(self._bench.joints, stamp))
        kind, _, value = self._fault.partition(":")
        told = {"bus": lambda: np.full(6, -math.pi), "jump": lambda: np.full(6, float(value))}
        if kind != "silence":
            self._states.publish(self._joint_state(told.get(kind, lambda: self._bench.joints)(), stamp))
        self._count += 1
        if self._count % 5 == 0:
            self._image.publish(_image(self._bench.policy_view(self._size), stamp))
            self._detector.publish(_image(self._bench.detector_view(self._size), stamp))

    def _move_fingers(self) -> None:
        now = time.monotonic()
        wanted = self._finger + self._pwm * 1e-4 * min(now - self._then, 0.1)
        self._then, self._finger = now, float(np.clip(wanted, *STOPS))
        if self._finger != wanted:
            self._wrong("the fingers were driven against their stops")
            self._pwm = 0.0

    def _joint_state(self, joints: np.ndarray, stamp: Any) -> JointState:
        names = [*ARM, "gripper", "left_finger", "right_finger"]
        msg = JointState(name=names, position=[*map(float, joints), 0.0, self._finger, -self._finger])
        msg.velocity, msg.effort = [*map(float, self._bench.velocities), 0.0, 0.0, 0.0], [0.0] * 9
        msg.header.stamp = stamp
        return msg


def _image(pixels: np.ndarray, stamp: Any) -> Image:
    height, width, _ = pixels.shape
    msg = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels.tobytes())
    msg.header.stamp, msg.header.frame_id = stamp, "camera_optical"
    return msg


def main() -> None:
    """Run until told to stop."""
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        try:
            rclpy.spin(FakeXsSdk())
        except RuntimeError:  # told to stop while publishing
            if rclpy.ok():
                raise


if __name__ == "__main__":
    main()
