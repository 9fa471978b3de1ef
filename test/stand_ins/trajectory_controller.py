"""Stand-in for a ros2_control arm, a process of its own: `joint_trajectory_controller` and `joint_state_broadcaster`.

Where each behaviour comes from (ros-controls/ros2_controllers, joint_trajectory_controller/doc/trajectory.rst,
"Trajectory Representation" and "Trajectory Replacement"; src/joint_trajectory_controller.cpp, validate_trajectory_msg):
- a trajectory with stamp zero begins now, from the measured state, and replaces the one under way;
- points with velocities are joined by cubics, without by straight lines; after the last point its position is held;
- points whose time has passed are left out, a trajectory that lies in the past altogether is refused;
- names that are not the controller's joints, times that do not rise, no points: refused, the arm goes on as before.
joint_state_broadcaster: `joint_states` sensor_msgs/JointState of all joints, in an order of its own.
Faults are set by the parameter `fault`: silence | jump:VALUE | late:SECONDS | frozen | dead:JOINT.
Besides the contract it publishes `stand_in/joints` (the true joints, always) and pictures of its bench, and writes down
what happens in the file that the parameter `record` names.
By parameters it is another driver than the expected one: `names` (what it calls the joints), `best_effort` (the
detector's view), `cameras` (its three views on `bench/external`, `bench/wrist`, `bench/detector`, as camera drivers
would publish them).
"""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from typing import Any

import numpy as np
import rclpy
from bench import ARM, FINGERS, SLEEP, Bench
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from recorder import Recorder, note
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

RATE = 100.0


class Trajectory:
    """One accepted message, sampled as the controller samples it."""

    def __init__(self, msg: JointTrajectory, now: float, begun: float, joints: np.ndarray, speeds: np.ndarray) -> None:
        order = [list(msg.joint_names).index(name) for name in ARM]
        points = [p for p in msg.points if begun + _seconds(p.time_from_start) >= now]
        self.times = np.array([now, *(begun + _seconds(p.time_from_start) for p in points)])
        self.positions = np.array([joints, *(np.array(p.positions)[order] for p in points)])
        cubic = all(len(p.velocities) == len(ARM) for p in points)
        self.velocities = np.array([speeds, *(np.array(p.velocities)[order] for p in points)]) if cubic else None

    def sample(self, now: float) -> np.ndarray:
        """Desired positions (6,) [rad]."""
        now = max(now, self.times[0])
        if now >= self.times[-1]:
            return self.positions[-1]
        k = int(np.searchsorted(self.times, now, side="right")) - 1
        span = self.times[k + 1] - self.times[k]
        s = (now - self.times[k]) / span if span > 0 else 1.0
        start, end = self.positions[k], self.positions[k + 1]
        if self.velocities is None:
            return start + (end - start) * s
        v0, v1 = self.velocities[k] * span, self.velocities[k + 1] * span
        cubic = (2 * s**3 - 3 * s**2 + 1) * start + (-2 * s**3 + 3 * s**2) * end
        return cubic + (s**3 - 2 * s**2 + s) * v0 + (s**3 - s**2) * v1


class TrajectoryController(Node):
    """See the module."""

    def __init__(self) -> None:
        super().__init__("trajectory_controller")
        size = int(self.declare_parameter("image_size", 32).value)
        every = int(self.declare_parameter("image_every", 5).value)
        start = tuple(self.declare_parameter("start", list(SLEEP)).value)
        self._called = list(self.declare_parameter("names", list(ARM)).value)
        self._cameras = bool(self.declare_parameter("cameras", False).value)
        lossy = bool(self.declare_parameter("best_effort", False).value)
        self._recorder = Recorder(str(self.declare_parameter("record", "").value))
        self.declare_parameter("fault", "")
        self._faults = str(self.declare_parameter("faults", "").value)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._bench, self._size, self._every, self._count = Bench(start), size, every, 0
        self._start = np.array(start, np.float64)
        self._fault, self._frozen = "", None
        self._trajectory: Trajectory | None = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._states = self.create_publisher(JointState, "driver/joint_states", 10)
        self._truth = self.create_publisher(JointState, "stand_in/joints", 10)
        self._views = [self.create_publisher(Image, f"bench/{view}", 5) for view in ("external", "wrist", "detector")]
        self._image = self.create_publisher(Image, "image", 5)
        seen = qos_profile_sensor_data if lossy else 5
        self._detector = self.create_publisher(Image, "detector_image", seen)
        self.create_subscription(JointTrajectory, "driver/arm_controller/joint_trajectory", self._on_trajectory, 10)
        self.create_subscription(String, "task", lambda msg: self._bench.set_task(msg.data), latched)
        self.create_timer(1.0 / RATE, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_parameters(self, parameters: list[Any]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "fault":
                self._fault = str(parameter.value)
                note(self._faults, self._fault)
                kind, _, value = self._fault.partition(":")
                self._bench.dead = ARM.index(value) if kind == "dead" else None
        return SetParametersResult(successful=True)

    def _on_trajectory(self, msg: JointTrajectory) -> None:
        now = time.monotonic()
        times = [_seconds(point.time_from_start) for point in msg.points]
        wrong = set(msg.joint_names) != set(ARM) or not times or any(b <= a for a, b in itertools.pairwise(times))
        wrong = wrong or any(len(point.positions) != len(ARM) for point in msg.points)
        stamp = msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9
        begun = now if stamp == 0.0 else now + stamp - self.get_clock().now().nanoseconds * 1e-9
        if wrong or begun + times[-1] < now:
            self.get_logger().error(f"refused a trajectory of joints {list(msg.joint_names)} with times {times[:5]}")
            return
        self._catch_up()
        joints = self._bench.joints
        self._trajectory = Trajectory(msg, now, begun, joints, self._bench.velocities)
        self._recorder.command(now, self._trajectory.positions[-1], len(times), times[-1], joints)

    def _on_timer(self) -> None:
        self._catch_up()
        stamp = self.get_clock().now()
        self._truth.publish(self._joint_state(self._bench.joints, stamp.to_msg()))
        self._tell(stamp.nanoseconds)
        self._count += 1
        if self._count % self._every == 0:
            self._show(stamp.to_msg())

    def _catch_up(self) -> None:
        for now in self._bench.advance(lambda at: self._trajectory.sample(at) if self._trajectory else self._start):
            self._recorder.tick(now, self._bench.joints, self._bench.tip)

    def _show(self, stamp: Any) -> None:
        """The policy's view and the detector's; or what three cameras see, each on a topic of its own."""
        view, detector = self._bench.policy_view(self._size), self._bench.detector_view(self._size)
        if self._cameras:
            for publisher, pixels in zip(self._views, (view[: self._size], view[self._size :], detector), strict=True):
                publisher.publish(_image(pixels, stamp))
        else:
            self._image.publish(_image(view, stamp))
            self._detector.publish(_image(detector, stamp))

    def _tell(self, now: int) -> None:
        kind, _, value = self._fault.partition(":")
        joints = self._bench.joints
        if kind == "silence":
            return
        if kind == "jump":
            joints = np.full(6, float(value))
        if kind == "late":
            now -= round(float(value) * 1e9)
        stamp = rclpy.time.Time(nanoseconds=now).to_msg()
        if kind != "frozen" or self._frozen is None:
            self._frozen = stamp
        told = self._joint_state(joints, self._frozen)
        told.name = [self._called[ARM.index(name)] if name in ARM else name for name in told.name]
        self._states.publish(told)

    def _joint_state(self, joints: np.ndarray, stamp: Any) -> JointState:
        names = [*ARM, *FINGERS]
        positions = [*joints, *self._bench.finger_positions]
        velocities = [*self._bench.velocities, 0.0, 0.0]
        order = sorted(range(len(names)), key=lambda i: names[i])
        msg = JointState(name=[names[i] for i in order])
        msg.position, msg.velocity = [float(positions[i]) for i in order], [float(velocities[i]) for i in order]
        msg.header.stamp = stamp
        return msg


def _seconds(duration: Any) -> float:
    return float(duration.sec + duration.nanosec * 1e-9)


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
            rclpy.spin(TrajectoryController())
        except RuntimeError:  # told to stop while publishing
            if rclpy.ok():
                raise


if __name__ == "__main__":
    main()
