"""Cameras and video files through OpenCV, read by a thread of their own so that the newest picture is at hand."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from meld_core.config import CameraConfig
from meld_core.types import Frame


class CameraError(RuntimeError):
    """There is no (fresh) picture; the text is one clear sentence."""


class Capture(Protocol):
    """The part of cv2.VideoCapture that is used."""

    def read(self) -> tuple[bool, Any]:
        """Next picture, BGR."""

    def set(self, property_id: int, value: float) -> bool:
        """Set a property."""

    def release(self) -> None:
        """Close the device."""


def open_capture(config: CameraConfig) -> Capture:
    """Open the device or file of a config.

    Raises:
        CameraError: where it is missing or cannot be read.
    """
    device = config.device
    if device.isdecimal():
        capture, what = cv2.VideoCapture(int(device)), f"camera {device}"
    else:
        if not Path(device).exists():
            raise CameraError(f"there is no camera or video file {device} [setting: camera.device]")
        capture, what = cv2.VideoCapture(device), device
    if not capture.isOpened():
        raise CameraError(f"{what} cannot be opened; is it plugged in, free and readable? [setting: camera.device]")
    if not is_file(config):
        for name, value in (("WIDTH", config.width), ("HEIGHT", config.height)):
            capture.set(getattr(cv2, f"CAP_PROP_FRAME_{name}"), value)
        capture.set(cv2.CAP_PROP_FPS, config.rate)
    return capture


def is_file(config: CameraConfig) -> bool:
    """Whether the device is a video file, which must be paced and cannot freeze."""
    return Path(config.device).is_file()


@dataclasses.dataclass(frozen=True)
class _Picture:
    frame: Frame
    number: int
    received: float
    """Steady seconds."""


class OpenCvCamera:
    """One camera or video file. Implements robot.Camera.

    Args:
        config: Which device, how fast, and when a picture is stale or frozen.
        stamp: Time of capture [ns], in the clock of whoever uses the pictures.
        clock: Steady seconds.
        make: Opens the device.
    """

    def __init__(
        self,
        config: CameraConfig,
        stamp: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        make: Callable[[CameraConfig], Capture] = open_capture,
    ) -> None:
        self._config, self._stamp, self._clock = config, stamp, clock
        self._capture = make(config)
        self._paced = is_file(config)
        self._new = threading.Condition()
        self._picture: _Picture | None = None
        self._opened = clock()
        self._problem = ""
        self._equal, self._digest = 1, b""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            started = self._clock()
            pixels = self._next()
            if pixels is None:
                break
            self._keep(pixels)
            if self._paced:
                self._stopping.wait(max(0.0, 1.0 / self._config.rate - (self._clock() - started)))

    def _next(self) -> np.ndarray | None:
        """The next picture, RGB; None at the end, with the reason in `_problem`."""
        good, pixels = self._capture.read()
        if not good and self._paced and self._config.loop:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            good, pixels = self._capture.read()
        if good:
            return np.ascontiguousarray(pixels[..., ::-1])
        ended = "ended; set camera.loop to start it again" if self._paced else "gives no pictures any more"
        with self._new:
            self._problem = f"{self._config.device} {ended}"
            self._new.notify_all()
        return None

    def _keep(self, pixels: np.ndarray) -> None:
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=8).digest()
        with self._new:
            self._equal = self._equal + 1 if digest == self._digest else 1
            self._digest = digest
            frame = Frame(pixels, self._stamp(), f"{self._config.name}_optical")
            self._picture = _Picture(frame, self._picture.number + 1 if self._picture else 1, self._clock())
            self._new.notify_all()

    def read(self) -> Frame:
        """The newest picture.

        Raises:
            CameraError: where it is stale (`camera.stale_after`), frozen (`camera.frozen_after`) or the last one.
        """
        with self._new:
            return self._checked().frame

    def wait_newer(self, stamp: int, timeout: float) -> Frame:
        """The newest picture once it is newer than `stamp` [ns]; waits up to `timeout` [s].

        Raises:
            CameraError: as `read`, and where no newer picture came in time.
        """
        with self._new:
            self._new.wait_for(lambda: self._problem or self._newer(stamp), timeout)
            if not self._newer(stamp):
                raise CameraError(self._problem or f"{self._config.device} gave no new picture for {timeout:.1f} s")
            return self._checked().frame

    def _newer(self, stamp: int) -> bool:
        return self._picture is not None and self._picture.frame.stamp > stamp

    def _checked(self) -> _Picture:
        device, picture = self._config.device, self._picture
        age = self._clock() - (picture.received if picture else self._opened)
        if age > self._config.stale_after:
            raise CameraError(
                self._problem or f"the newest picture of {device} is {age:.1f} s old (camera.stale_after)"
            )
        if picture is None:
            raise CameraError(self._problem or f"{device} has given no picture yet")
        if not self._paced and self._equal >= self._config.frozen_after:
            raise CameraError(f"{device} is frozen: {self._equal} equal pictures in a row (camera.frozen_after)")
        return picture

    def close(self) -> None:
        """Stop the thread and close the device. Safe to call twice."""
        self._stopping.set()
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            self._capture.release()
