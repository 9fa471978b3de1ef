"""CameraWatch: the newest picture of one camera, and everything that can be wrong with a camera.

Unplugged, stale, frozen, of another size, stamps that lag or go back, another camera than the one that was set up:
each is one clear sentence, and no picture is handed out until it is mended.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable

import numpy as np

from meld_core.config import CameraConfig
from meld_core.types import Frame


class CameraError(RuntimeError):
    """There is no (fresh) picture; the text is one clear sentence."""


Identify = Callable[[np.ndarray], str]
"""(H, W, 3) uint8 → why this is not what the camera must see, or ''."""


@dataclasses.dataclass(frozen=True)
class _Picture:
    frame: Frame
    received: float
    """Steady seconds."""


class CameraWatch:
    """Takes pictures from whatever captures them, and hands out the newest one that can be trusted.

    Args:
        config: When a picture is stale or frozen, and how large it must be.
        clock: Steady seconds.
        live: Whether it is a camera: a video file may repeat pictures and has its own size.
        identify: Looks at the first picture after each connection, until it finds nothing wrong.
    """

    def __init__(
        self,
        config: CameraConfig,
        clock: Callable[[], float] = time.monotonic,
        live: bool = True,
        identify: Identify | None = None,
    ) -> None:
        self._config, self._clock, self._live, self._identify = config, clock, live, identify
        self._new = threading.Condition()
        self._picture: _Picture | None = None
        self._opened = clock()
        self._problem, self._unidentified = "", ""
        self._identified = identify is None
        self._equal, self._equal_since, self._digest = 1, clock(), b""
        self.refused: collections.Counter[str] = collections.Counter()
        """Pictures that were not taken, by kind: `size`, `lag`, `back`."""

    def put(self, pixels: np.ndarray, stamp: int, now: int | None = None) -> None:
        """One picture.

        Args:
            pixels: (H, W, 3) uint8, RGB.
            stamp: Time of capture [ns].
            now: Time of arrival in the same clock [ns], to tell stamps that lag; None where the stamp is our own.
        """
        if refusal := self._refusal(pixels, stamp, now):
            self._refuse(*refusal)
            return
        digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8).digest()
        unidentified = "" if self._identified or self._identify is None else self._identify(pixels)
        with self._new:
            self._identified, self._unidentified, self._problem = not unidentified, unidentified, ""
            received = self._clock()
            self._count_equal(digest, received)
            self._picture = _Picture(Frame(pixels, stamp, f"{self._config.name}_optical"), received)
            self._new.notify_all()

    def _refusal(self, pixels: np.ndarray, stamp: int, now: int | None) -> tuple[str, str] | None:
        config, (height, width) = self._config, pixels.shape[:2]
        if self._live and (width, height) != (config.width, config.height):
            return "size", (
                f"{config.device} gives pictures of {width}x{height}, expected {config.width}x{config.height} "
                f"[settings: width, height of the {config.name} camera]"
            )
        age = 0.0 if now is None else (now - stamp) * 1e-9
        if age > config.stale_after:
            return "lag", f"a picture of {config.device} came {age:.2f} s after its stamp (stale_after)"
        if self._picture is not None and stamp <= self._picture.frame.stamp:
            return "back", f"the stamps of {config.device} do not go forward"
        return None

    def _refuse(self, kind: str, reason: str) -> None:
        with self._new:
            self.refused[kind] += 1
            self._problem = reason
            self._new.notify_all()

    def _count_equal(self, digest: bytes, received: float) -> None:
        if digest != self._digest:
            self._equal, self._equal_since, self._digest = 0, received, digest
        self._equal += 1

    def lost(self, reason: str) -> None:
        """The source is gone. Whatever comes next must identify itself again."""
        with self._new:
            self._problem, self._identified = reason, self._identify is None
            self._new.notify_all()

    def read(self) -> Frame:
        """The newest picture.

        Raises:
            CameraError: where it cannot be trusted.
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
        config, picture = self._config, self._picture
        age = self._clock() - (picture.received if picture else self._opened)
        if age > config.stale_after:
            raise CameraError(
                self._problem or f"the newest picture of {config.device} is {age:.1f} s old (stale_after)"
            )
        if picture is None:
            raise CameraError(self._problem or f"{config.device} has given no picture yet")
        if self._unidentified:
            raise CameraError(self._unidentified)
        if self._frozen():
            raise CameraError(f"{config.device} is frozen: {self._equal} equal pictures in a row (frozen_time)")
        return picture

    def _frozen(self) -> bool:
        config, lasted = self._config, self._clock() - self._equal_since
        watched = self._live and config.frozen_time > 0
        return watched and self._equal >= config.frozen_after and lasted >= config.frozen_time
