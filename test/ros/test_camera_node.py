"""camera_node and OpenCvCamera: a video file that the test makes, and devices that misbehave."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray

from meld_core.camera import CameraError, OpenCvCamera
from meld_core.config import CameraConfig
from meld_ros import conversions as msgs

from .conftest import Ros


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Six pictures of 32x16, each of one brightness: 20, 60, 100, 140, 180, 220; red is 20 less, blue 20 more."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (32, 16))
    for level in range(20, 240, 40):
        writer.write(np.full((16, 32, 3), (level + 20, level, level - 20), np.uint8))
    writer.release()
    return path


def test_camera_node_shows_a_video_in_order_and_in_rgb(ros: Ros, video: Path) -> None:
    frames: list[Any] = []
    said: list[str] = []

    def on_diagnostics(msg: DiagnosticArray) -> None:
        said.extend(status.message for status in msg.status)

    probe = ros.probe()
    msgs.subscription(probe, msgs.IMAGE, lambda msg: frames.append(msgs.image_from_msg(msg)))
    msgs.subscription(probe, msgs.DIAGNOSTICS, on_diagnostics)
    settings = {"camera.device": str(video), "camera.loop": True, "camera.rate": 60.0, "camera.name": "bench"}
    ros.start("meld_ros.camera_node", settings)
    ros.until(lambda: len(frames) >= 14, "two rounds of the video")
    assert {frame.frame_id for frame in frames} == {"bench_optical"}
    assert {frame.pixels.shape for frame in frames} == {(16, 32, 3)}
    stamps = [frame.stamp for frame in frames]
    assert stamps == sorted(set(stamps))
    levels = [round((float(frame.pixels[..., 1].mean()) - 20) / 40) for frame in frames]
    assert set(levels) == {0, 1, 2, 3, 4, 5}
    red, _, blue = frames[0].pixels.reshape(-1, 3).mean(axis=0)
    assert blue - red == pytest.approx(40, abs=8)
    ros.until(lambda: "running" in said, "the heartbeat")


def test_the_end_of_a_video_is_said(ros: Ros, video: Path) -> None:
    said: list[str] = []
    probe = ros.probe()
    msgs.subscription(probe, msgs.DIAGNOSTICS, lambda msg: said.extend(status.message for status in msg.status))
    process = ros.start("meld_ros.camera_node", {"camera.device": str(video), "camera.rate": 240.0})
    ros.until(lambda: any("film.avi ended; set camera.loop" in sentence for sentence in said), "the end")
    assert process.poll() is None


class Device:
    """A capture device that the test feeds."""

    def __init__(self) -> None:
        self._turn = threading.Semaphore(0)
        self.pixels: np.ndarray | None = np.zeros((2, 2, 3), np.uint8)
        self.released = False

    def feed(self, count: int = 1) -> None:
        self._turn.release(count)

    def read(self) -> tuple[bool, Any]:
        self._turn.acquire()
        return self.pixels is not None, self.pixels

    def set(self, property_id: int, value: float) -> bool:
        return True

    def release(self) -> None:
        self.released = True


class Bench:
    """A camera over a Device, with clocks that the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.now, self.stamp, self.device = 0.0, 0, Device()
        config = CameraConfig(device="9", stale_after=0.5, **settings)
        self.camera = OpenCvCamera(config, self._stamp, lambda: self.now, lambda _: self.device)

    def _stamp(self) -> int:
        self.stamp += 1
        return self.stamp

    def close(self) -> None:
        self.device.pixels = None
        self.device.feed()
        self.camera.close()


def test_stale_frozen_and_unplugged_cameras_are_said_and_recover() -> None:
    bench = Bench(frozen_after=3)
    with pytest.raises(CameraError, match="9 has given no picture yet"):
        bench.camera.read()
    bench.device.feed()
    assert bench.camera.wait_newer(0, 30.0).stamp == 1
    bench.now = 0.6
    with pytest.raises(CameraError, match="newest picture of 9 is 0.6 s old"):
        bench.camera.read()
    bench.device.feed()
    assert bench.camera.wait_newer(1, 30.0).stamp == 2
    bench.device.feed()
    with pytest.raises(CameraError, match="9 is frozen: 3 equal pictures in a row"):
        bench.camera.wait_newer(2, 30.0)
    bench.device.pixels = np.ones((2, 2, 3), np.uint8)
    bench.device.feed()
    assert bench.camera.wait_newer(3, 30.0).pixels.tolist() == [[[1, 1, 1]] * 2] * 2
    bench.device.pixels = None
    bench.device.feed()
    with pytest.raises(CameraError, match="9 gives no pictures any more"):
        bench.camera.wait_newer(4, 30.0)
    bench.camera.close()
    assert bench.device.released


def test_a_picture_that_does_not_come_in_time_is_an_error() -> None:
    bench = Bench()
    with pytest.raises(CameraError, match="9 gave no new picture for 0.0 s"):
        bench.camera.wait_newer(0, 0.01)
    bench.close()
