"""robot_node with guards switched off, for tests only: what then happens must be what the oracle objects to.

MELD_TEST_WITHOUT names them, separated by commas. Nothing of this is reachable from the package.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from meld_core import gate_checks, hosting, robot
from meld_core.arm import joint_arm, joint_path, joint_states
from meld_ros import conversions, robot_node, stop_server

_FAR = 20
"""An unbounded command goes on for so many times its way and its time."""


def _lease() -> None:
    """A lost policy is not noticed."""
    hosting.Host.policy_lost = lambda self: None


def _expiry() -> None:
    """A command lasts for ever."""
    robot.MotionGate.expire = lambda self: False


def _stamp() -> None:
    """Commands for any observation are taken."""
    robot.wrong_stamp = lambda *_: None


def _numbers() -> None:
    """Whatever comes is an action."""
    robot.wrong_action = lambda _: None
    gate_checks.wrong_action = lambda _: None


def _frame() -> None:
    """A command in any frame, with any rotation, is taken for one in base_link."""

    def from_msg(self: Any, msg: Any) -> np.ndarray:
        linear = msg.twist.linear
        return (np.array([linear.x, linear.y, linear.z]) * self.control_period / self.step_size).astype(np.float32)

    conversions.ActionScale.from_msg = from_msg


def _clamp() -> None:
    """No limit of step, box or speed, in gate and arm."""
    robot.MotionGate._clamp = lambda self, action, tool: action
    joint_arm.clamped_step = lambda action, tool, limits: (action, tool + action.astype(np.float64) * limits.step_size)
    step = joint_path.PathPlanner.step

    def unlimited(self: Any, target: np.ndarray, joints: np.ndarray) -> np.ndarray:
        target[2] = max(target[2], 0.03)
        speed, self._limits.joint_velocity[:] = self._limits.joint_velocity.copy(), 1e3
        try:
            return step(self, target, joints)
        finally:
            self._limits.joint_velocity[:] = speed

    joint_path.PathPlanner.step = unlimited


def _box() -> None:
    """No workspace, in gate and arm."""
    robot.MotionGate._clamp = lambda self, action, tool: np.clip(action, np.float32(-1), np.float32(1))
    joint_arm.clamped_step = lambda action, tool, limits: (action, tool + action.astype(np.float64) * limits.step_size)


def _sender() -> None:
    """Everybody is the same commander."""
    robot_node.RobotNode._sender = lambda self, *_: "anybody"


def _stop() -> None:
    """The stop is deaf."""
    robot.MotionGate.stop = lambda self, reason: None


def _latch() -> None:
    """A stop is no more than a hold."""
    robot.MotionGate.stop = robot.MotionGate.hold


def _button() -> None:
    """Nobody looks at the stop button."""
    stop_server.StopButton.problem = lambda self: ""


def _bounded() -> None:
    """A command is a motion that goes on."""

    def endless(goal: np.ndarray, duration: float) -> joint_path.JointPath:
        if duration == joint_arm._HOLD_TIME:
            return joint_path.one_point(goal, duration)
        start = _endless_start.joints
        far = start + (goal - start) * _FAR
        return joint_path.JointPath(np.array([duration * _FAR]), far[None], np.zeros((1, len(goal))))

    step = joint_path.PathPlanner.step

    def remembering(self: Any, target: np.ndarray, joints: np.ndarray) -> np.ndarray:
        _endless_start.joints = joints
        return step(self, target, joints)

    joint_path.PathPlanner.step, joint_arm.one_point = remembering, endless


_endless_start = threading.local()


def _steady() -> None:
    """The age of joint states is told by stamps and ROS's clock alone, which stand still or leap together."""
    nodes: list[Any] = []

    def by_stamps(self: Any) -> Any:
        sample = self._samples[-1]
        age = nodes[0].get_clock().now().nanoseconds * 1e-9 - sample.stamp * 1e-9
        if age > self._stale_after:
            raise joint_states.StaleStateError(f"joint states are {age} s old")
        return sample

    joint_states.JointHistory.newest = by_stamps
    make = robot_node.make_robot

    def make_robot(config: Any, node: Any) -> Any:
        nodes.append(node)
        return make(config, node)

    robot_node.make_robot = make_robot


def _states() -> None:
    """Joint states never grow old."""
    newest = joint_states.JointHistory.newest

    def patient(self: Any) -> Any:
        self._stale_after = 1e9
        return newest(self)

    joint_states.JointHistory.newest = patient


def _jumps() -> None:
    """Every joint state is believed."""
    gate_checks.StateWatch._problem = lambda self, state: ""
    joint_states.JointHistory._believable = lambda self, sample: True


def _follow() -> None:
    """Nobody looks whether joints follow."""
    joint_states.FollowWatch.look = lambda *_: ""
    gate_checks.StateWatch._lag = lambda self, state: ""


def _park() -> None:
    """The node ends and leaves the arm to itself."""
    robot_node.RobotNode.close = lambda self: os._exit(0)


def _teardown() -> None:
    """Threads and nodes of the stop server are left behind."""
    stop_server.StopServer.close = lambda self: None


GUARDS: dict[str, Callable[[], None]] = {
    name[1:]: switch_off
    for name, switch_off in list(globals().items())
    if name.startswith("_") and callable(switch_off) and getattr(switch_off, "__module__", "") == __name__
}
"""Guard → what switches it off."""


def switch_off(names: str) -> None:
    """Switch off the guards of a list, separated by commas."""
    for name in filter(None, names.split(",")):
        GUARDS[name]()


if __name__ == "__main__":
    switch_off(os.environ["MELD_TEST_WITHOUT"])
    robot_node.main()
