"""Where camera_node gets its pictures from: a device, a video file, or a topic that somebody else publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from meld_core.cameras.capture import OpenCvCamera
from meld_core.cameras.identity import identifier, read_picture
from meld_core.cameras.watch import CameraWatch, Identify
from meld_core.config import CameraConfig
from meld_core.types import Frame
from meld_ros.conversions import stamp_of
from meld_ros.images import pixels_of, pixels_of_compressed
from meld_ros.qos import SENSOR_QOS

TOPIC = "topic:"
_COMPRESSED = "/compressed"


class Source(Protocol):
    """One camera as camera_node uses it."""

    watch: CameraWatch
    locked: dict[str, str]

    def wait_newer(self, stamp: int, timeout: float) -> Frame:
        """See `CameraWatch.wait_newer`."""

    def read(self) -> Frame:
        """The newest picture. Raises CameraError where it cannot be trusted."""

    def close(self) -> None:
        """Let go of it."""


class TopicCamera:
    """Pictures of an existing topic, raw or compressed, best effort or reliable."""

    def __init__(self, node: Node, config: CameraConfig, identify: Identify | None = None) -> None:
        self._node, self._latency = node, round(config.latency * 1e9)
        self.watch = CameraWatch(config, identify=identify)
        self.locked: dict[str, str] = {}
        name = config.device.removeprefix(TOPIC)
        kind = CompressedImage if name.endswith(_COMPRESSED) else Image
        self._subscription = node.create_subscription(kind, name, self._on_image, SENSOR_QOS)
        self._device = config.device

    def _on_image(self, msg: Any) -> None:
        try:
            pixels = pixels_of(msg) if isinstance(msg, Image) else pixels_of_compressed(msg)
        except ValueError as error:
            self.watch.lost(f"{self._device}: {error}")
            return
        self.watch.put(pixels, stamp_of(msg.header) - self._latency, self._node.get_clock().now().nanoseconds)

    def read(self) -> Frame:
        """See `Source`."""
        return self.watch.read()

    def wait_newer(self, stamp: int, timeout: float) -> Frame:
        """See `Source`."""
        return self.watch.wait_newer(stamp, timeout)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)


def open_sources(node: Node, cameras: Mapping[str, CameraConfig]) -> dict[str, Source]:
    """Open every camera, by the names of their settings.

    Raises:
        CameraError: where one cannot be opened, or its reference picture cannot be read.
    """
    references = {name: read_picture(config.reference) for name, config in cameras.items() if config.reference}
    opened: dict[str, Source] = {}
    try:
        for name, config in cameras.items():
            others = {other: picture for other, picture in references.items() if other != name}
            opened[name] = _open(node, config, others)
    except Exception:
        for source in opened.values():
            source.close()
        raise
    return opened


def _open(node: Node, config: CameraConfig, others: Mapping[str, np.ndarray]) -> Source:
    identify = identifier(config, others)
    if config.device.startswith(TOPIC):
        return TopicCamera(node, config, identify)
    return OpenCvCamera(config, stamp=lambda: node.get_clock().now().nanoseconds, identify=identify)
