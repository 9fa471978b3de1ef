"""Labels pictures of the live detector view, by key or by the topic `label`, while a person teleoperates."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from meld_core.detectors.labels import LabelError, Labels, make_labels
from meld_ros.conversions import LABEL, image_from_msg, subscription
from meld_ros.keys import pressed_keys
from meld_ros.qos import SENSOR_QOS

KEYS = {"s": True, "f": False}


class LabelNode(Node):
    """Keeps the newest picture, and each one that a person put a label on; a picture is labelled once.

    Subscribes: the detector view, `label`.
    """

    def __init__(self, topic: str, say: Callable[[str], None], **kwargs: Any) -> None:
        super().__init__("label", **kwargs)
        self._say = say
        self._lock = threading.Lock()
        self._newest: np.ndarray | None = None
        self._pictures: list[np.ndarray] = []
        self._success: list[bool] = []
        self._groups: list[int] = []
        self.create_subscription(Image, topic, self._on_image, SENSOR_QOS)
        subscription(self, LABEL, self._on_label)

    def _on_image(self, msg: Image) -> None:
        with contextlib.suppress(ValueError):  # whoever publishes it says so
            self._newest = image_from_msg(msg).pixels

    def _on_label(self, msg: String) -> None:
        if msg.data in ("success", "failure"):
            self.label(msg.data == "success")

    def label(self, success: bool) -> None:
        """Put a label on the newest picture. A change of label begins another group."""
        with self._lock:
            newest, self._newest = self._newest, None
            if newest is None:
                self._say("no new picture of the detector view is there")
                return
            changed = bool(self._success) and success != self._success[-1]
            self._groups.append((self._groups[-1] if self._groups else 0) + int(changed))
            self._pictures.append(newest)
            self._success.append(success)
            count, hits = len(self._success), sum(self._success)
            self._say(f"{'success' if success else 'failure'}: {count} pictures, {hits} of success")

    def labels(self, condition: str) -> Labels:
        """All so far. Raises LabelError where there are none."""
        with self._lock:
            if not self._pictures:
                raise LabelError("no picture was labelled")
            return make_labels(self._pictures, self._success, self._groups, condition, "person")


def label_live(topic: str, condition: str) -> Labels:
    """Label until q is pressed (or the input ends). Raises LabelError where nothing was labelled."""
    rclpy.init()
    node = LabelNode(topic, lambda text: print(text, file=sys.stderr))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, name="label", daemon=True)
    thread.start()
    print(f"labelling {topic}: s success, f failure, q quit", file=sys.stderr)
    try:
        for key in pressed_keys():
            if key in KEYS:
                node.label(KEYS[key])
        return node.labels(condition)
    finally:
        executor.shutdown()
        thread.join(timeout=2.0)
        node.destroy_node()
        rclpy.shutdown()
