"""camera_node: publishes a camera or video file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

from meld_core.camera import CameraError, OpenCvCamera
from meld_core.config import ConfigError
from meld_ros.conversions import IMAGE, image_to_msg, publisher
from meld_ros.diagnostics import ERROR, OK, Diagnostics
from meld_ros.node_main import read_config, refuse_unknown, run_node


class CameraNode(Node):
    """Publish what one camera sees, each picture once, with the stamp of its capture.

    Publishes: `image` (the graph remaps it to `camera/image`).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("camera", **kwargs)
        config = read_config(self, ("camera",)).camera
        refuse_unknown(self)
        if not config.device:
            raise ConfigError(
                "camera_node needs a device number, a device path or a video file [setting: camera.device]"
            )
        self.finished = False
        self._stopping = threading.Event()
        self._diagnostics = Diagnostics(self)
        self._wait = max(config.stale_after, 2.0 / config.rate)
        self._publisher = publisher(self, IMAGE)
        self._camera = OpenCvCamera(config, stamp=lambda: self.get_clock().now().nanoseconds)
        self._thread = threading.Thread(target=self._run, name="publish", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        newest = -1
        while not self._stopping.is_set():
            try:
                frame = self._camera.wait_newer(newest, self._wait)
            except CameraError as error:
                self._diagnostics.state(ERROR, str(error))
                self._stopping.wait(self._wait)
                continue
            newest = self._diagnostics.stamp = frame.stamp
            self._diagnostics.state(OK, "running")
            self._diagnostics.beat("image")
            self._publisher.publish(image_to_msg(frame))

    def close(self) -> None:
        """Close the device."""
        self._stopping.set()
        self._camera.close()
        self._thread.join(timeout=2.0)


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(CameraNode, args)


if __name__ == "__main__":
    main()
