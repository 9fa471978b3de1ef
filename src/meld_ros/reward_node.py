"""reward_node: judges pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from meld_core.announce import GateReport
from meld_core.rewards import make_detector
from meld_ros.conversions import (
    DETECTOR_IMAGE,
    GATE_STATE,
    REWARD,
    image_from_msg,
    publisher,
    reward_to_msg,
    stamp_of,
    subscription,
)
from meld_ros.diagnostics import Diagnostics
from meld_ros.node_main import read_config, refuse_unknown, run_node


class RewardNode(Node):
    """Judge each picture of the detector's camera once; a repeated picture gets the same answer again.

    Subscribes: `detector_image`, `gate_state` (a reset begins a new episode).
    Publishes: `reward`, with the stamp of the picture that it judges.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("reward", **kwargs)
        config = read_config(self, ("reward",))
        refuse_unknown(self)
        self.finished = False
        self._detector = make_detector(config.reward)
        self._diagnostics = Diagnostics(self)
        self._reset_stamp = 0
        self._answer: JointState | None = None
        self._publisher = publisher(self, REWARD)
        subscription(self, DETECTOR_IMAGE, self._on_image)
        subscription(self, GATE_STATE, self._on_gate)

    def _on_gate(self, msg: String) -> None:
        report = GateReport.from_json(msg.data)
        if report.reset_stamp not in (0, self._reset_stamp):
            self._reset_stamp, self._answer = report.reset_stamp, None
            self._detector.reset()

    def _on_image(self, msg: Image) -> None:
        stamp = self._diagnostics.stamp = stamp_of(msg.header)
        self._diagnostics.beat("detector_image")
        answered = 0 if self._answer is None else stamp_of(self._answer.header)
        if stamp < max(answered, self._reset_stamp):
            self._diagnostics.refuse("stale", "a picture from before the newest one or the reset came")
            return
        if self._answer is None or stamp > answered:
            try:
                self._answer = reward_to_msg(self._detector({"detector": image_from_msg(msg)}, None), stamp)
            except ValueError as error:
                self._diagnostics.refuse("image", str(error))
                return
        self._publisher.publish(self._answer)

    def close(self) -> None:
        """Nothing to let go of."""


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(RewardNode, args)


if __name__ == "__main__":
    main()
