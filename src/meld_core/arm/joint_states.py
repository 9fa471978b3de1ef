"""What a driver tells about an arm's joints: what to believe, how old it is, which joint does not follow."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable

import numpy as np

_HISTORY = 400
"""Samples kept: 4 s at 100 Hz."""
_JUMP_SLACK = 0.1
"""A joint may change by this much besides what its largest speed allows: resolution and jitter of stamps [rad]."""
_LONGEST_GAP = 0.2
"""Motion during a longer gap is not taken for granted [s]."""
_LIMIT_SLACK = 0.05
"""Measured joints may lie this far beyond their limits [rad]."""


@dataclasses.dataclass(frozen=True)
class JointSample:
    """One joint state."""

    joints: np.ndarray
    """(J,) float64 [rad]."""
    velocities: np.ndarray
    """(J,) float64 [rad/s]."""
    stamp: int
    """Measurement time, by the driver [ns]."""
    received: float
    """Steady time of its receipt [s]."""
    late: float = 0.0
    """How old it was by its stamp when it was received [s]."""


class StaleStateError(RuntimeError):
    """No joint state, or none recent enough."""


class JointHistory:
    """Samples in the order of their stamps. Any thread may add and read.

    A sample is *trusted* when it is finite, within the joints' limits and reachable from the trusted one before it at
    the joints' largest speed. Some drivers publish freshly stamped nonsense when a bus read fails; to hold "where the
    arm is" must never mean to go there.

    Args:
        lower: Joint limits, (J,) [rad].
        upper: (J,) [rad].
        velocity: Largest joint speeds, (J,) [rad/s].
        stale_after: Age at which the newest sample counts as lost [s].
        clock: Steady seconds.
    """

    def __init__(
        self,
        lower: np.ndarray,
        upper: np.ndarray,
        velocity: np.ndarray,
        *,
        stale_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lower, self._upper, self._velocity = lower - _LIMIT_SLACK, upper + _LIMIT_SLACK, velocity
        self._stale_after, self._clock = stale_after, clock
        self._samples: collections.deque[JointSample] = collections.deque(maxlen=_HISTORY)
        self._trusted: JointSample | None = None
        self._changed = threading.Condition()

    def add(self, sample: JointSample) -> bool:
        """A new sample; False, and nothing happens, where its stamp is not newer than the last one's."""
        with self._changed:
            if self._samples and sample.stamp <= self._samples[-1].stamp:
                return False
            self._samples.append(sample)
            if self._believable(sample):
                self._trusted = sample
            self._changed.notify_all()
            return True

    def _believable(self, sample: JointSample) -> bool:
        joints = sample.joints
        if not (np.isfinite(joints).all() and np.isfinite(sample.velocities).all()):
            return False
        if ((joints < self._lower) | (joints > self._upper)).any():
            return False
        if self._trusted is None:
            return True
        gap = min(max((sample.stamp - self._trusted.stamp) * 1e-9, 0.0), _LONGEST_GAP)
        return bool((np.abs(joints - self._trusted.joints) <= self._velocity * gap + _JUMP_SLACK).all())

    def trust_again(self) -> None:
        """Judge the next sample by itself: a person says that the arm may move again."""
        with self._changed:
            self._trusted = None
            if self._samples and self._believable(self._samples[-1]):
                self._trusted = self._samples[-1]

    @property
    def trusted(self) -> JointSample | None:
        """The newest sample to believe, however old."""
        return self._trusted

    def newest(self) -> JointSample:
        """The newest sample, believable or not. Raises StaleStateError where it is missing or too old."""
        with self._changed:
            if not self._samples:
                raise StaleStateError("no joint states came from the driver")
            sample = self._samples[-1]
            age = self._clock() - sample.received + max(sample.late, 0.0)
        if age > self._stale_after:
            raise StaleStateError(
                f"joint states are lost: the newest is {age:.3f} s old, more than driver.stale_after = "
                f"{self._stale_after} s"
            )
        return sample

    def near(self, stamp: int, within: float) -> JointSample | None:
        """The sample whose stamp [ns] is nearest to another one and at most `within` [s] from it."""
        with self._changed:
            if not self._samples:
                return None
            nearest = min(self._samples, key=lambda sample: abs(sample.stamp - stamp))
        return nearest if abs(nearest.stamp - stamp) <= within * 1e9 else None

    def wait(self, timeout: float) -> bool:
        """Sleep until a sample comes. Returns whether one came."""
        with self._changed:
            return self._changed.wait(timeout)


class PictureClock:
    """When the newest picture of the bench was taken: steps carry the stamps of pictures. Any thread may use it."""

    def __init__(self) -> None:
        self._stamp = -1

    def add(self, stamp: int) -> None:
        """A picture with this stamp [ns] came."""
        self._stamp = max(self._stamp, stamp)

    @property
    def newest(self) -> int:
        """[ns]; -1 before the first."""
        return self._stamp


_LEAST_COMMANDED = 0.02
"""A joint that was asked to move less says nothing about itself [rad]."""
_STILL = 0.002
"""A joint that moved less stood still: a step of a servo of 4096 per turn is 0.0015 [rad]. In contact joints give."""
_ALIVE_SHARE = 0.5
"""A joint that moved by this share of what was commanded follows."""
_PERSISTS = 0.08
"""The verdict must stand for this long [s]."""
_LATENCY = 0.1
"""Driver and servo may answer this late [s]."""


class FollowWatch:
    """Finds a joint that does not do what it is told although the others do.

    An arm that presses against something is stopped in several joints at once and is no fault; one joint alone that
    stands still while others follow is a dead motor (or a joint that is jammed).
    """

    def __init__(self, joint_names: tuple[str, ...], window: float) -> None:
        self._names, self._window = joint_names, window
        self._rows: collections.deque[tuple[float, np.ndarray, np.ndarray]] = collections.deque()
        self._commanded = np.zeros(len(joint_names))
        self._before: np.ndarray | None = None
        self._suspect: tuple[int, float] | None = None

    def forget(self) -> None:
        """The arm was moved by others."""
        self._rows.clear()
        self._before = self._suspect = None

    def new_command(self, planned: np.ndarray) -> None:
        """The plan changes at once to another one that begins here, (J,) [rad]."""
        self._before = planned

    def look(self, now: float, planned: np.ndarray, measured: np.ndarray) -> str:
        """Look at one sample. Returns the reason to stop the arm, or ''.

        Args:
            now: Steady time [s].
            planned: Where the command wants the joints now, (J,) [rad].
            measured: (J,) [rad].
        """
        if self._before is not None:
            self._commanded = self._commanded + planned - self._before
        self._before = planned
        self._rows.append((now, self._commanded, measured))
        return self._judge(now)

    def _judge(self, now: float) -> str:
        begin = now - self._window - _LATENCY
        while len(self._rows) > 1 and self._rows[1][0] <= begin:
            self._rows.popleft()
        first = self._rows[0]
        if first[0] > begin:
            return ""
        until = [row for row in self._rows if row[0] <= now - _LATENCY]
        asked = np.ptp(np.array([row[1] for row in until]), axis=0)  # to and fro is much asked, though it ends near
        moved = np.ptp(np.array([row[2] for row in self._rows]), axis=0)  # a servo that lags still moves
        tells = asked > _LEAST_COMMANDED
        dead = tells & (moved < _STILL)
        if dead.sum() != 1 or not (tells & (moved >= _ALIVE_SHARE * asked)).any():
            self._suspect = None
            return ""
        joint = int(dead.argmax())
        if self._suspect is None or self._suspect[0] != joint:
            self._suspect = joint, now
        if now - self._suspect[1] < _PERSISTS:
            return ""
        return (
            f"joint '{self._names[joint]}' does not follow: it moved by {moved[joint]:.3f} rad where "
            f"{asked[joint]:.3f} rad were commanded within {self._window} s (driver.follow_window)"
        )
