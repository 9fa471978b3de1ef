"""The WidowX 250s behind Interbotix's xs_sdk.

Topics and services: interbotix_ros_core, interbotix_ros_xseries (branch humble): `joint_states`,
`commands/joint_group`, `commands/joint_single`, `get_robot_info`, `set_motor_registers`, `get_motor_registers`,
`torque_enable`.
The operating mode is never switched: xs_sdk switches torque off while it does that, and the arm would drop.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from meld_core.arm.arm_driver import ArmError
from meld_core.arm.joint_path import JointPath
from meld_core.arm.joint_states import JointHistory, PictureClock
from meld_core.config import Config
from meld_core.sim.arm import JOINT_NAMES
from meld_ros.robots.driver_side import DriverSide

_STREAM = 0.05
"""Points of a long path are sent this often [s]."""
_FINGER = "left_finger"


def _messages() -> tuple[Any, Any]:
    try:
        from interbotix_xs_msgs import msg, srv
    except ImportError:
        raise ArmError(
            "the robot 'widowx' needs Interbotix's messages (interbotix_xs_msgs), which are not here; install them "
            "with `sudo apt install ros-$ROS_DISTRO-interbotix-xs-msgs`, or build them from "
            "github.com/Interbotix/interbotix_ros_core"
        ) from None
    return msg, srv


class WidowxDriver:
    """Publishes joint group commands with a time profile of one control period.

    A long path is streamed ahead of time by half a profile, because the servos arrive that much later. Where this
    process dies, the arm goes to the last point that it was given and holds.
    """

    def __init__(self, config: Config, node: Node, history: JointHistory, pictures: PictureClock) -> None:
        self._msg, self._srv = _messages()
        self._config, self._profile = config.driver, config.robot.control_period
        self._side = DriverSide(config, node, history, pictures, on_joints=self._watch_gripper)
        self._lock = threading.Lock()
        self._path: tuple[JointPath, float] | None = None
        self._lower, self._upper = np.full(6, -np.inf), np.full(6, np.inf)
        self._fingers: tuple[float, float] | None = None
        self._effort = 0.0
        self._closing, self._wake = threading.Event(), threading.Event()
        self._stream = threading.Thread(target=self._run_stream, name="stream", daemon=True)
        commands = f"{config.driver.namespace}/commands"
        self._group = self._side.node.create_publisher(
            self._msg.JointGroupCommand, node.resolve_topic_name(f"{commands}/joint_group"), 1
        )
        self._single = self._side.node.create_publisher(
            self._msg.JointSingleCommand, node.resolve_topic_name(f"{commands}/joint_single"), 1
        )
        for name, act in (("grasp", self.grasp), ("release", self.release)):
            self._side.node.create_service(Trigger, node.resolve_service_name(name), _served(act))

    def connect(self) -> np.ndarray:
        """Read limits and sleep pose, check mode and torque, set the time profile. Nothing moves."""
        self._side.start()
        info = self._ask("get_robot_info", self._srv.RobotInfo, name=self._config.group)
        if tuple(info.joint_names) != JOINT_NAMES:
            raise ArmError(f"xs_sdk's group '{self._config.group}' has the joints {list(info.joint_names)}")
        if (info.mode, info.profile_type) != ("position", "time"):
            raise ArmError(
                f"xs_sdk runs the arm in mode '{info.mode}' with profile '{info.profile_type}', expected position and "
                "time; set them in its modes.yaml and start it again (switching now would drop the arm)"
            )
        if 0 in self._ask_registers("get_motor_registers", "Torque_Enable", 0):
            raise ArmError(
                "motors of the arm are limp; support the arm, then switch them on with xs_sdk's torque_enable"
            )
        self._lower, self._upper = np.array(info.joint_lower_limits), np.array(info.joint_upper_limits)
        milliseconds = round(1000 * self._profile)
        self._ask_registers("set_motor_registers", "Profile_Velocity", milliseconds)
        self._ask_registers("set_motor_registers", "Profile_Acceleration", milliseconds // 3)
        if self._config.gripper:
            fingers = self._ask("get_robot_info", self._srv.RobotInfo, cmd_type="single", name=self._config.gripper)
            self._fingers = (fingers.joint_lower_limits[0], fingers.joint_upper_limits[0])
        self._stream.start()
        return np.array(info.joint_sleep_positions, np.float64)

    def _ask(self, service: str, kind: Any, cmd_type: str = "group", **fields: Any) -> Any:
        return self._side.ask(
            kind, f"{self._config.namespace}/{service}", kind.Request(cmd_type=cmd_type, **fields), "is xs_sdk running?"
        )

    def _ask_registers(self, service: str, register: str, value: int) -> list[int]:
        answer = self._ask(service, self._srv.RegisterValues, name=self._config.group, reg=register, value=value)
        return list(answer.values)

    def send(self, path: JointPath) -> None:
        """One point is sent at once; of several the stream sends one after the other."""
        with self._lock:
            self._path = None if len(path.times) == 1 else (path, time.monotonic())
            if self._path is None:
                self._command(path.goal)
        self._wake.set()

    def _command(self, joints: np.ndarray) -> None:
        within = np.clip(joints, self._lower, self._upper)
        if np.isfinite(within).all():  # xs_sdk would carry out a NaN
            self._group.publish(
                self._msg.JointGroupCommand(name=self._config.group, cmd=within.astype(np.float32).tolist())
            )

    def _run_stream(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                if self._path is not None:
                    path, begun = self._path
                    ahead = time.monotonic() - begun + self._profile / 2
                    self._command(path.at(ahead, path.positions[0]))
                    if ahead >= path.duration:
                        self._path = None
                streaming = self._path is not None
            if streaming:
                self._closing.wait(_STREAM)
            else:
                self._wake.wait()
                self._wake.clear()

    def grasp(self) -> None:
        """Close the gripper until it holds something or the fingers reach `driver.finger_grasp`."""
        self._push(-self._config.gripper_pwm)

    def release(self) -> None:
        """Open the gripper until the fingers reach their limit. What it held falls."""
        self._push(self._config.gripper_pwm)

    def _push(self, effort: float) -> None:
        if not self._config.gripper:
            raise ArmError("this arm has no gripper [setting: driver.gripper]")
        self._effort = effort
        self._single.publish(self._msg.JointSingleCommand(name=self._config.gripper, cmd=effort))

    def _watch_gripper(self, msg: JointState) -> None:
        """In mode pwm nobody else stops the fingers at their limits."""
        if not self._effort or self._fingers is None or _FINGER not in msg.name:
            return
        finger = msg.position[list(msg.name).index(_FINGER)]
        lower, upper = max(self._fingers[0], self._config.finger_grasp), self._fingers[1]
        if (self._effort < 0 and finger <= lower) or (self._effort > 0 and finger >= upper):
            self._push(0.0)

    def rested(self) -> None:
        """Switch the motors off where a person asked for that (driver.torque_off); the arm lies on itself."""
        if self._config.torque_off:
            self._ask("torque_enable", self._srv.TorqueEnable, name=self._config.group, enable=False)

    def close(self) -> None:
        """End threads and subscriptions; the arm holds, and the gripper what it has."""
        self._closing.set()
        self._wake.set()
        if self._stream.is_alive():
            self._stream.join()
        self._side.close()


def _served(act: Any) -> Any:
    def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            act()
            response.success = True
        except ArmError as error:
            response.message = str(error)
        return response

    return serve
