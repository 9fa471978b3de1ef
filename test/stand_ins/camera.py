"""A stand-in camera driver: publishes pictures at 20 Hz as a process of its own, and misbehaves when told.

The contract is that of any ROS 2 camera driver (v4l2_camera, usb_cam, ros_gz_image): sensor_msgs/Image, rgb8, best
effort, stamped at capture. It imports nothing of meld_core or meld_ros.

Parameters `topic` and `scene`; `stand_in/camera` (std_msgs/String) says what is wrong: well, freeze, lag (by 10 s),
back (by 1 s), small, encoding.
"""

from __future__ import annotations

import array

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String

RATE = 20.0
SECOND = 1_000_000_000


def scene_of(number: int) -> np.ndarray:
    """What a camera sees, (48, 64, 3)."""
    blocks = np.random.default_rng(number).integers(20, 200, (6, 8, 3))
    return np.kron(blocks, np.ones((8, 8, 1)))


class Camera(Node):
    """What it sees is one of several scenes of coarse blocks, with the noise of a sensor."""

    def __init__(self) -> None:
        super().__init__("stand_in_camera")
        topic, scene = (str(self.declare_parameter("topic", "").value), int(self.declare_parameter("scene", 0).value))
        self._scene = scene_of(scene)
        self._rng = np.random.default_rng(100 + scene)
        self._wrong = "well"
        self._frozen = self._shot()
        self._publisher = self.create_publisher(Image, topic, qos_profile_sensor_data)
        self.create_subscription(String, "stand_in/camera", self._on_word, 10)
        self.create_timer(1.0 / RATE, self._publish)

    def _on_word(self, msg: String) -> None:
        self._wrong = msg.data

    def _shot(self) -> np.ndarray:
        noisy = self._scene + self._rng.normal(0.0, 3.0, self._scene.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)

    def _publish(self) -> None:
        if self._wrong != "freeze":
            self._frozen = self._shot()
        pixels = self._frozen[:24] if self._wrong == "small" else self._frozen
        height, width, _ = pixels.shape
        encoding = "yuv422" if self._wrong == "encoding" else "rgb8"
        msg = Image(height=height, width=width, encoding=encoding, step=3 * width)
        msg.data = array.array("B", pixels.tobytes())
        late = {"lag": 10 * SECOND, "back": SECOND}.get(self._wrong, 0)
        stamp = self.get_clock().now().nanoseconds - late
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, SECOND)
        msg.header.frame_id = "somebody_elses_frame"
        self._publisher.publish(msg)


def main() -> None:
    """See the module."""
    rclpy.init()
    rclpy.spin(Camera())


if __name__ == "__main__":
    main()
