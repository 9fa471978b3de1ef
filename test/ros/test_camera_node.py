"""camera_node and OpenCvCamera: a video file that the test makes, and devices that misbehave."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray

from meld_core.cameras.capture import CameraError, OpenCvCamera, lock_picture
from meld_core.config import CameraConfig
from meld_core.types import Frame
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
    assert {frame.pixels.shape for frame in frames} == {(64, 64, 3)}
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
        self.pixels: np.ndarray | None = np.zeros((16, 16, 3), np.uint8)
        self.released = False
        self.values: dict[int, float] = {}
        self.refuses: set[int] = set()

    def feed(self, count: int = 1) -> None:
        self._turn.release(count)

    def read(self) -> tuple[bool, Any]:
        self._turn.acquire()
        return self.pixels is not None, self.pixels

    def get(self, property_id: int) -> float:
        return self.values.get(property_id, 0.0)

    def set(self, property_id: int, value: float) -> bool:
        self.values[property_id] = value
        return property_id not in self.refuses

    def release(self) -> None:
        self.released = True


class Bench:
    """A camera over a Device, with clocks that the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.now, self.stamp, self.device = 0.0, 0, Device()
        self.there = True
        config = CameraConfig(device="9", width=16, height=16, reconnect_every=0.01, **{"stale_after": 0.5, **settings})
        self.camera = OpenCvCamera(config, self._stamp, lambda: self.now, self._open)

    def _open(self, _: CameraConfig) -> Device:
        if not self.there:
            raise CameraError("camera 9 cannot be opened")
        return self.device

    def _stamp(self) -> int:
        self.stamp += 1
        return self.stamp

    def close(self) -> None:
        self.device.pixels = None
        self.device.feed()
        self.camera.close()


def test_a_stale_camera_is_said_and_recovers() -> None:
    bench = Bench()
    with pytest.raises(CameraError, match="9 has given no picture yet"):
        bench.camera.read()
    bench.device.feed()
    assert bench.camera.wait_newer(0, 30.0).stamp == 1
    bench.now = 0.6
    with pytest.raises(CameraError, match="newest picture of 9 is 0.6 s old"):
        bench.camera.read()
    bench.device.feed()
    assert bench.camera.wait_newer(1, 30.0).stamp == 2
    bench.close()


def test_equal_pictures_are_a_frozen_camera_once_they_last() -> None:
    """At 0, 0.3 and 0.6 s it may be a quiet scene; at 0.9 s they have lasted more than 0.8 s."""
    bench = Bench(frozen_after=3)
    for stamp in range(1, 4):
        bench.device.feed()
        assert bench.camera.wait_newer(stamp - 1, 30.0).stamp == stamp
        bench.now += 0.3
    bench.device.feed()
    with pytest.raises(CameraError, match="9 is frozen: 4 equal pictures in a row"):
        bench.camera.wait_newer(3, 30.0)
    bench.device.pixels = np.ones((16, 16, 3), np.uint8)
    bench.device.feed()
    assert bench.camera.wait_newer(4, 30.0).pixels.min() == 1
    bench.close()


def test_frozen_time_0_never_finds_a_camera_frozen() -> None:
    bench = Bench(frozen_after=2, frozen_time=0.0, stale_after=10.0)
    for stamp in range(1, 5):
        bench.device.feed()
        assert bench.camera.wait_newer(stamp - 1, 30.0).stamp == stamp
        bench.now += 2.0
    bench.close()


def test_an_unplugged_camera_is_said_looked_for_and_found_again() -> None:
    bench = Bench()
    bench.device.feed()
    bench.camera.wait_newer(0, 30.0)
    first, bench.there = bench.device, False
    first.pixels = None
    first.feed()
    with pytest.raises(CameraError, match="9 (gives no pictures any more|cannot be opened)"):
        bench.camera.wait_newer(1, 30.0)
    bench.device = Device()
    bench.there = True
    bench.device.feed()
    assert wait_until_newer(bench.camera, 1).stamp > 1
    assert first.released
    bench.close()
    assert bench.device.released


def wait_until_newer(camera: OpenCvCamera, stamp: int) -> Frame:
    """While a camera is gone each wait ends at once with the reason."""
    deadline = time.monotonic() + 60.0
    while True:
        try:
            return camera.wait_newer(stamp, 1.0)
        except CameraError:
            assert time.monotonic() < deadline


def test_exposure_and_white_balance_are_locked_where_they_were_or_as_told() -> None:
    device = Device()
    device.values = {cv2.CAP_PROP_EXPOSURE: 157.0}
    config = CameraConfig(device="9", white_balance=4600.0)
    assert lock_picture(device, config) == {"exposure": "locked at 157", "white balance": "locked at 4600"}
    assert device.values[cv2.CAP_PROP_AUTO_EXPOSURE] == 1.0
    assert device.values[cv2.CAP_PROP_AUTO_WB] == 0.0


def test_a_device_without_a_lock_says_so() -> None:
    device = Device()
    device.refuses = {cv2.CAP_PROP_AUTO_EXPOSURE, cv2.CAP_PROP_WB_TEMPERATURE}
    assert lock_picture(device, CameraConfig(device="9")) == {
        "exposure": "automatic: the device cannot lock it",
        "white balance": "locked where it was",
    }


def test_a_picture_that_does_not_come_in_time_is_an_error() -> None:
    bench = Bench()
    with pytest.raises(CameraError, match="9 gave no new picture for 0.0 s"):
        bench.camera.wait_newer(0, 0.01)
    bench.close()
