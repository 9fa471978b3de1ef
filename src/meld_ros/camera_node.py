"""camera_node: publishes what the policy and the detector see of one or several cameras."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

from meld_core.cameras.capture import CameraError
from meld_core.cameras.view import crop, policy_view, read_calibration, view_calibration
from meld_core.config import CameraConfig, Config, ConfigError
from meld_core.types import Frame
from meld_ros.camera_sources import Source, open_sources
from meld_ros.conversions import CAMERA_INFO, DETECTOR_IMAGE, IMAGE, Topic, image_to_msg, publisher, set_stamp
from meld_ros.diagnostics import ERROR, OK, Diagnostics
from meld_ros.images import camera_info
from meld_ros.node_main import read_config, refuse_unknown, run_node

MAIN, WRIST, DETECTOR = "camera", "wrist_camera", "detector_camera"
"""Groups of settings of the first policy view, the second one, and the reward detector."""


class CameraNode(Node):
    """Publish each new picture of the main camera once, beside the newest of the others, with its stamp of capture.

    Publishes: `image` (the policy views from top to bottom), `detector_image` (uncropped where `detector_camera` says
    nothing), both with the main picture's stamp; per calibrated camera `<name>/camera_info`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("camera", **kwargs)
        self._config = config = read_config(self, (MAIN, WRIST, DETECTOR, "sim"))
        refuse_unknown(self)
        if not config.camera.device:
            raise ConfigError(
                "camera_node needs a device number, a device path, a video file or topic:NAME [setting: camera.device]"
            )
        self.finished = False
        self._stopping = threading.Event()
        self._diagnostics = Diagnostics(self)
        self._wait = max(config.camera.stale_after, 2.0 / config.camera.rate)
        self._cameras = {name: camera for name, camera in _cameras(config).items() if camera.device}
        self._policy_cameras = [name for name in (MAIN, WRIST) if name in self._cameras]
        self._image, self._detector_image = publisher(self, IMAGE), publisher(self, DETECTOR_IMAGE)
        self._infos = [self._info(name, camera) for name, camera in self._cameras.items() if camera.calibration]
        self._sources: dict[str, Source] = open_sources(self, self._cameras)
        self._thread = threading.Thread(target=self._run, name="publish", daemon=True)
        self._thread.start()

    def _info(self, name: str, camera: CameraConfig) -> tuple[Any, Any, str]:
        """Publisher, message and frame of one camera's intrinsics."""
        calibration = read_calibration(camera)
        assert calibration is not None
        size = None if name == DETECTOR else self._config.sim.image_size
        message = camera_info(view_calibration(calibration, camera, size))
        topic = Topic(f"{camera.name}/{CAMERA_INFO.name}", CAMERA_INFO.type, CAMERA_INFO.qos)
        return publisher(self, topic), message, f"{camera.name}_optical"

    def _run(self) -> None:
        newest = -1
        while not self._stopping.is_set():
            try:
                main = self._sources[MAIN].wait_newer(newest, self._wait)
                newest = max(newest, main.stamp)
                pictures = {name: source.read() for name, source in self._sources.items() if name != MAIN}
                self._publish({MAIN: main, **pictures})
            except CameraError as error:
                if self._stopping.is_set():
                    break
                self._diagnostics.values = self._facts()
                self._diagnostics.state(ERROR, str(error))
                self._stopping.wait(self._pause())
                continue
            self._diagnostics.stamp = newest
            self._diagnostics.values = self._facts()
            self._diagnostics.state(OK, "running")
            self._diagnostics.beat("image")

    def _pause(self) -> float:
        """How long to wait after an error [s]: a picture may come in the next period."""
        return 1.0 / self._config.camera.rate

    def _publish(self, pictures: dict[str, Frame]) -> None:
        main = pictures[MAIN]
        views = [(pictures[name].pixels, self._cameras[name]) for name in self._policy_cameras]
        source = DETECTOR if DETECTOR in pictures else MAIN
        seen = crop(pictures[source].pixels, self._config.detector_camera)
        self._detector_image.publish(image_to_msg(Frame(seen, main.stamp, pictures[source].frame_id)))
        view = policy_view(views, self._config.sim.image_size)
        self._image.publish(image_to_msg(Frame(view, main.stamp, main.frame_id)))
        for info, message, frame in self._infos:
            set_stamp(message.header, main.stamp)
            message.header.frame_id = frame
            info.publish(message)

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for name, source in self._sources.items():
            facts |= {f"{name} {what}": state for what, state in source.locked.items()}
            facts |= {f"{name} refused {kind}": count for kind, count in source.watch.refused.items()}
        return facts

    def close(self) -> None:
        """Close the devices."""
        self._stopping.set()
        for source in self._sources.values():
            source.watch.lost("camera_node ends")
        self._thread.join(timeout=2.0)
        for source in self._sources.values():
            source.close()


def _cameras(config: Config) -> dict[str, CameraConfig]:
    return {MAIN: config.camera, WRIST: config.wrist_camera, DETECTOR: config.detector_camera}


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(CameraNode, args)


if __name__ == "__main__":
    main()
