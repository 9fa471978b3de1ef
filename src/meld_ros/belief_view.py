"""What policy_node shows of its belief; the belief itself never crosses ROS."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node

from meld_core.agent import Agent
from meld_core.config import Config
from meld_core.reporting.belief_strip import draw_strip
from meld_core.teleop.scene import believed_ports
from meld_core.types import Frame
from meld_ros import conversions as ros
from meld_ros import markers

_WIDTH = 640


class BeliefView:
    """Publishes `belief/markers` (each port with the reward that is expected there) and `belief/image` (the same over
    the trial), where somebody looks."""

    def __init__(self, node: Node, config: Config, agent: Agent) -> None:
        self._agent, task = agent, config.task
        self._longest = task.episodes * (task.horizon + 2)
        self._markers = ros.publisher(node, markers.BELIEF_MARKERS)
        self._image = ros.publisher(node, markers.BELIEF_IMAGE)
        self._expected: list[np.ndarray] = []
        self._first: list[bool] = []
        self._begins = True

    def begin(self, episode: int) -> None:
        """An episode begins; the first one of a trial forgets what was shown."""
        if episode == 0:
            self._expected, self._first = [], []
        self._begins = True

    def show(self, stamp: int) -> None:
        """Show what the belief says at a step [ns]."""
        believed = self._agent.believed_ports()
        if believed is None:
            return
        self._expected.append(believed[1])
        self._first.append(self._begins)
        self._begins = False
        if self._markers.get_subscription_count():
            self._markers.publish(markers.belief_markers(believed_ports(*believed)))
        if self._image.get_subscription_count():
            strip = draw_strip(np.array(self._expected), np.array(self._first), self._longest, _WIDTH)
            self._image.publish(ros.image_to_msg(Frame(strip, stamp, "belief")))
