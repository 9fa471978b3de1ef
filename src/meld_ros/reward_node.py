"""reward_node: judges pictures, or the tool's pose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from meld_core.announce import Announcement, GateReport
from meld_core.rewards import make_detector
from meld_core.types import Frame, Reward, RobotState
from meld_ros import conversions as ros
from meld_ros.diagnostics import OK, WARN, Diagnostics
from meld_ros.node_main import read_config, refuse_unknown, run_node, spin_fast


class RewardNode(Node):
    """Judge each picture of the detector's camera (or each tool pose) once; a repeated one gets the same answer again.

    Subscribes: `detector_image`, or `tool_pose` for a detector that looks at the robot; `gate_state` (a reset begins a
    new episode), `task`.
    Publishes: `reward`, with the stamp of what it judges. Stale pictures (realtime) and dark ones are not judged:
    `valid` is 0.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("reward", **kwargs)
        config = read_config(self, ("reward", "robot"))
        refuse_unknown(self)
        self.finished = False
        self._realtime = config.robot.mode == "realtime"
        self._stale_after = config.reward.stale_after
        self._detector = make_detector(config.reward)
        self._diagnostics = Diagnostics(self)
        self._reset_stamp = 0
        self._answer: JointState | None = None
        self._publisher = ros.publisher(self, ros.REWARD)
        if self._detector.needs_state:
            ros.subscription(self, ros.TOOL_POSE, self._on_pose)
        else:
            ros.subscription(self, ros.DETECTOR_IMAGE, self._on_image)
        ros.subscription(self, ros.TASK, self._on_task)
        ros.subscription(self, ros.GATE_STATE, self._on_gate)

    def _on_task(self, msg: String) -> None:
        try:
            self._detector.set_task(Announcement.from_json(msg.data).task)
        except ValueError as error:
            self._diagnostics.refuse("task", str(error))

    def _on_gate(self, msg: String) -> None:
        try:
            report = GateReport.from_json(msg.data)
        except ValueError as error:
            self._diagnostics.refuse("gate_state", str(error))
            return
        if report.reset_stamp not in (0, self._reset_stamp):
            self._reset_stamp, self._answer = report.reset_stamp, None
            self._detector.reset()

    def _on_image(self, msg: Image) -> None:
        self._diagnostics.beat("detector_image")
        self._answer_to(ros.stamp_of(msg.header), lambda: self._judge({"detector": ros.image_from_msg(msg)}, None))

    def _on_pose(self, msg: PoseStamped) -> None:
        self._diagnostics.beat("tool_pose")
        self._answer_to(ros.stamp_of(msg.header), lambda: self._judge({}, _state(msg)))

    def _answer_to(self, stamp: int, judge: Any) -> None:
        self._diagnostics.stamp = stamp
        answered = 0 if self._answer is None else ros.stamp_of(self._answer.header)
        if stamp < max(answered, self._reset_stamp):
            self._diagnostics.refuse("stale", "a picture from before the newest one or the reset came")
            return
        if self._answer is None or stamp > answered:
            try:
                self._answer = ros.reward_to_msg(Reward.missing() if self._is_stale(stamp) else judge(), stamp)
            except ValueError as error:
                self._diagnostics.refuse("image", str(error))
                return
        self._publisher.publish(self._answer)

    def _judge(self, frames: dict[str, Frame], state: RobotState | None) -> Reward:
        reward = self._detector(frames, state)
        if not reward.valid:
            self._diagnostics.refuse("dark", "the detector view is too dark to judge (reward.min_brightness)")
        alarm = self._detector.alarm
        self._diagnostics.state(WARN if alarm else OK, alarm or "running")
        return reward

    def _is_stale(self, stamp: int) -> bool:
        """Realtime: what is this old says nothing of now."""
        age = (self.get_clock().now().nanoseconds - stamp) * 1e-9 if self._realtime else 0.0
        if age > self._stale_after:
            self._diagnostics.refuse("late", f"a picture came {age:.2f} s after its stamp (reward.stale_after)")
        return age > self._stale_after

    def close(self) -> None:
        """Nothing to let go of."""


def _state(msg: PoseStamped) -> RobotState:
    """What a pose tells of the robot: no joints."""
    position, orientation = ros.pose_from_msg(msg)
    return RobotState(np.zeros(0), np.zeros(0), position, orientation, ros.stamp_of(msg.header))


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(RewardNode, args, serve=spin_fast)


if __name__ == "__main__":
    main()
