"""The message ring of lockstep without what it is for: the same topics, sizes and processes, nothing computed.

    python -m meld_ros.bench.ring robot|reward|policy STEPS

`policy` starts a step as soon as the one before is over, and prints the seconds that STEPS of them took.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from meld_core.config import Config
from meld_core.stop_signals import set_on
from meld_core.types import Frame, Reward
from meld_ros import conversions as ros
from meld_ros.node_main import STOPPING, spin, spin_fast
from meld_ros.qos import action_qos

_TOLD_BY = ("joint_states", "tool_pose", "image", "truth", "reward", "executed_action")
_AGAIN = 0.5
"""A step that nobody answered is started again after this [s]: at first not everybody is there."""


class Robot(Node):
    """For each action: everything that robot_node publishes in a step, made beforehand, with the action's stamp."""

    def __init__(self, steps: int) -> None:
        super().__init__("ring_robot")
        self.finished = False
        config, stamp = Config(), 1
        size, height = config.sim.image_size, config.sim.image_size * len(config.sim.views)
        picture = Frame(np.zeros((height, size, 3), np.uint8), stamp, "policy_optical")
        seen = Frame(np.zeros((config.sim.detector_size,) * 2 + (3,), np.uint8), stamp, "detector_optical")
        names = tuple(f"joint_{i}" for i in range(6))
        self._messages: list[tuple[Any, Any]] = [
            (ros.publisher(self, topic), message)
            for topic, message in (
                (ros.EXECUTED_ACTION, ros.ActionScale(1.0, 1.0).to_msg(np.zeros(3, np.float32), stamp)),
                (ros.DETECTOR_IMAGE, ros.image_to_msg(seen)),
                (ros.IMAGE, ros.image_to_msg(picture)),
                (ros.JOINT_STATES, ros.joints_to_msg(names, np.zeros(6), np.zeros(6), stamp)),
                (ros.TOOL_POSE, ros.pose_to_msg(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), stamp)),
                (ros.TRUTH, ros.scalars_to_msg({"success": 0.0, "shaped": 0.0, "port": -1.0}, stamp)),
            )
        ]
        self._clock_topic = ros.publisher(self, ros.CLOCK)
        ros.subscription(self, ros.ACTION, self._on_action, action_qos(config.gate.policy_lease))

    def _on_action(self, msg: Any) -> None:
        for topic, message in self._messages:
            message.header.stamp = msg.header.stamp
            topic.publish(message)
        self._clock_topic.publish(ros.clock_to_msg(ros.stamp_of(msg.header)))


class Judge(Node):
    """For each detector picture: a reward of the same stamp."""

    def __init__(self, steps: int) -> None:
        super().__init__("ring_reward")
        self.finished = False
        self._message = ros.reward_to_msg(Reward(0.0, False, 0.0), 1)
        self._topic = ros.publisher(self, ros.REWARD)
        ros.subscription(self, ros.DETECTOR_IMAGE, self._on_image)

    def _on_image(self, msg: Any) -> None:
        self._message.header.stamp = msg.header.stamp
        self._topic.publish(self._message)


class Asker(Node):
    """Acts again as soon as all parts of a step are there."""

    def __init__(self, steps: int) -> None:
        super().__init__("ring_policy")
        self.finished = False
        self._steps, self._stamp, self._began = steps, 0, 0.0
        self._parts: set[str] = set()
        self._action = ros.ActionScale(1.0, 1.0).to_msg(np.zeros(3, np.float32), 1)
        self._topic = ros.publisher(self, ros.ACTION, action_qos(Config().gate.policy_lease))
        for topic in (ros.JOINT_STATES, ros.TOOL_POSE, ros.IMAGE, ros.TRUTH, ros.REWARD, ros.EXECUTED_ACTION):
            ros.subscription(self, topic, self._part(topic.name))
        self.create_timer(_AGAIN, self._act)

    def _part(self, name: str) -> Any:
        def on_message(msg: Any) -> None:
            if ros.stamp_of(msg.header) == self._stamp:
                self._parts.add(name)
                if len(self._parts) == len(_TOLD_BY):
                    self._next()

        return on_message

    def _next(self) -> None:
        self._stamp += 1
        if self._stamp == 10:
            self._began = time.perf_counter()
        if self._stamp == 10 + self._steps:
            print(time.perf_counter() - self._began, flush=True)
            self.finished = True
            return
        self._parts = set()
        self._act()

    def _act(self) -> None:
        ros.set_stamp(self._action.header, self._stamp)
        self._topic.publish(self._action)


ROLES = {"robot": Robot, "reward": Judge, "policy": Asker}


def main() -> None:
    """One of the three processes."""
    role, steps = sys.argv[1], int(sys.argv[2])
    set_on(STOPPING, signal.SIGTERM)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = ROLES[role](steps)
    (spin if role == "robot" else spin_fast)(node)  # as the nodes that they stand for
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
