"""Cameras and video files through OpenCV, read by a thread of their own so that the newest picture is at hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from meld_core.cameras.identity import check_serial
from meld_core.cameras.watch import CameraError, CameraWatch, Identify
from meld_core.config import CameraConfig
from meld_core.types import Frame

__all__ = ["CameraError", "Capture", "OpenCvCamera", "is_file", "open_capture"]

_MANUAL_EXPOSURE = 1.0
"""V4L2_EXPOSURE_MANUAL of V4L2_CID_EXPOSURE_AUTO, which OpenCV's V4L2 back end hands through."""


class Capture(Protocol):
    """The part of cv2.VideoCapture that is used."""

    def read(self) -> tuple[bool, Any]:
        """Next picture, BGR."""

    def get(self, property_id: int) -> float:
        """Value of a property."""

    def set(self, property_id: int, value: float) -> bool:
        """Set a property."""

    def release(self) -> None:
        """Close the device."""


def open_capture(config: CameraConfig) -> Capture:
    """Open the device or file of a config.

    Raises:
        CameraError: where it is missing, cannot be read or has another serial number.
    """
    device, where = config.device, f"[setting: device of the {config.name} camera]"
    if device.isdecimal():
        capture, what = cv2.VideoCapture(int(device)), f"camera {device}"
    else:
        if not Path(device).exists():
            raise CameraError(f"there is no camera or video file {device} {where}")
        capture, what = cv2.VideoCapture(device), device
    if not capture.isOpened():
        raise CameraError(f"{what} cannot be opened; is it plugged in, free and readable? {where}")
    if not is_file(config):
        check_serial(config)
        for name, value in (("WIDTH", config.width), ("HEIGHT", config.height)):
            capture.set(getattr(cv2, f"CAP_PROP_FRAME_{name}"), value)
        capture.set(cv2.CAP_PROP_FPS, config.rate)
    return capture


def is_file(config: CameraConfig) -> bool:
    """Whether the device is a video file, which must be paced and cannot freeze."""
    return Path(config.device).is_file()


def lock_picture(capture: Capture, config: CameraConfig) -> dict[str, str]:
    """Switch automatic exposure and white balance off: a detector must not see colours that change by themselves.

    Returns:
        What each of the two does now, for people.
    """
    exposure = config.exposure or capture.get(cv2.CAP_PROP_EXPOSURE)
    balance = config.white_balance or capture.get(cv2.CAP_PROP_WB_TEMPERATURE)
    plan = {
        "exposure": ((cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE), (cv2.CAP_PROP_EXPOSURE, exposure)),
        "white balance": ((cv2.CAP_PROP_AUTO_WB, 0.0), (cv2.CAP_PROP_WB_TEMPERATURE, balance)),
    }
    return {what: _lock(capture, *steps) for what, steps in plan.items()}


def _lock(capture: Capture, manual: tuple[int, float], value: tuple[int, float]) -> str:
    if not capture.set(*manual):
        return "automatic: the device cannot lock it"
    if not capture.set(*value):
        return "locked where it was"
    return f"locked at {capture.get(value[0]):g}"


class OpenCvCamera:
    """One camera or video file. Implements robot.Camera. A device that is gone is looked for until it is back.

    Args:
        config: Which device, how fast, and when a picture is stale or frozen.
        stamp: Time of capture [ns], in the clock of whoever uses the pictures.
        clock: Steady seconds.
        make: Opens the device.
        identify: See `CameraWatch`.

    Raises:
        CameraError: where the device cannot be opened at the start.
    """

    def __init__(
        self,
        config: CameraConfig,
        stamp: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        make: Callable[[CameraConfig], Capture] = open_capture,
        identify: Identify | None = None,
    ) -> None:
        self._config, self._stamp, self._clock, self._make = config, stamp, clock, make
        self._paced = is_file(config)
        self._latency = round(config.latency * 1e9)
        self.locked: dict[str, str] = {}
        """What exposure and white balance do."""
        self._capture: Capture | None = self._open()
        self.watch = CameraWatch(config, clock, live=not self._paced, identify=identify)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{config.name} camera", daemon=True)
        self._thread.start()

    def _open(self) -> Capture:
        capture = self._make(self._config)
        if self._config.lock and not self._paced:
            self.locked = lock_picture(capture, self._config)
        return capture

    def _run(self) -> None:
        while not self._stopping.is_set():
            started = self._clock()
            pixels = self._next()
            if pixels is not None:
                self.watch.put(pixels, self._stamp() - self._latency)
                if self._paced:
                    self._stopping.wait(max(0.0, 1.0 / self._config.rate - (self._clock() - started)))
            elif self._paced:
                break
            else:
                self._reconnect()

    def _next(self) -> np.ndarray | None:
        """The next picture, RGB; None where there is none, which `watch` knows then."""
        assert self._capture is not None
        good, pixels = self._capture.read()
        if not good and self._paced and self._config.loop:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            good, pixels = self._capture.read()
        if good:
            return np.ascontiguousarray(pixels[..., ::-1])
        ended = "ended; set camera.loop to start it again" if self._paced else "gives no pictures any more; plugged in?"
        self.watch.lost(f"{self._config.device} {ended}")
        return None

    def _reconnect(self) -> None:
        """Look for the device until it opens again."""
        self._release()
        while self._capture is None and not self._stopping.wait(self._config.reconnect_every):
            try:
                self._capture = self._open()
            except CameraError as error:
                self.watch.lost(str(error))

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def read(self) -> Frame:
        """The newest picture. Raises CameraError where it cannot be trusted."""
        return self.watch.read()

    def wait_newer(self, stamp: int, timeout: float) -> Frame:
        """See `CameraWatch.wait_newer`."""
        return self.watch.wait_newer(stamp, timeout)

    def close(self) -> None:
        """Stop the thread and close the device. Safe to call twice."""
        self._stopping.set()
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            self._release()
