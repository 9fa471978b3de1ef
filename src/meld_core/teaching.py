"""Teaching the ports of one placement: still poses only, repeated, averaged, refused where they disagree."""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np

from meld_core.taught_tasks import Placement, Point

_SAMPLES = 4
"""Poses that must agree before the tool counts as still."""
_STILL = 0.001
"""They lie within this of their mean [m]."""
_OLD = 3.0
"""A pose older than this says nothing of now [s]."""


class TeachError(ValueError):
    """A pose cannot be taken now; its text is one clear sentence."""


class StillPose:
    """The tool's newest poses: where it is, once it is at rest."""

    def __init__(self) -> None:
        self._poses: collections.deque[tuple[float, int, np.ndarray]] = collections.deque(maxlen=_SAMPLES)

    def add(self, at: float, stamp: int, position: np.ndarray) -> None:
        """One pose: steady time [s], its stamp [ns], (3,) [m]. A repeated stamp is no other measurement."""
        if not self._poses or stamp > self._poses[-1][1]:
            self._poses.append((at, stamp, np.asarray(position, np.float64)))

    def take(self, now: float) -> np.ndarray:
        """Mean of the newest poses, (3,) [m].

        Raises:
            TeachError: where no recent ones are there, or the tool moves.
        """
        recent = [position for at, _, position in self._poses if now - at <= _OLD]
        if len(recent) < _SAMPLES:
            raise TeachError("no new tool_pose comes; is robot_node running, with a camera, and the arm given to you?")
        mean = np.mean(recent, axis=0)
        if np.linalg.norm(recent - mean, axis=1).max() > _STILL:
            raise TeachError("the tool moves; hold it still for a second")
        return np.asarray(mean)


class Teaching:
    """One port after the other, each several times. People count ports from 1.

    Args:
        ports: How many there are.
        repeats: Teachings of each.
        tolerance: A port whose teachings are further from their mean than this is taught again [m].
        depth: The tip of a seated plug is this far below the mouth [m].
        check: Raises ValueError where no port can be, (x, y, z) [m].
    """

    def __init__(
        self,
        ports: int,
        repeats: int,
        tolerance: float,
        depth: float,
        check: Callable[[Point], None] = lambda _: None,
    ) -> None:
        if ports < 1 or repeats < 1 or tolerance <= 0:
            raise TeachError("at least one port, one teaching of it and a tolerance above 0 are needed")
        self._ports, self._repeats, self._tolerance, self._depth = ports, repeats, tolerance, depth
        self._check = check
        self._taken: list[np.ndarray] = []
        self._means: list[np.ndarray] = []
        self._spreads: list[float] = []

    @property
    def finished(self) -> bool:
        """Whether every port is taught."""
        return len(self._means) == self._ports

    @property
    def prompt(self) -> str:
        """What the person does next."""
        if self.finished:
            return "all ports are taught"
        return (
            f"port {len(self._means) + 1} of {self._ports}, teaching {len(self._taken) + 1} of {self._repeats}: "
            "seat the plug, let it rest, confirm; between two teachings pull it out"
        )

    def add(self, tip: np.ndarray) -> str:
        """Take the tip of the seated plug, (3,) [m]. What came of it, one sentence.

        Raises:
            TeachError: where no port can be there, or the teachings of this one disagree; then they are forgotten.
        """
        if self.finished:
            raise TeachError("all ports are taught already")
        x, y, z = (float(value) for value in tip)
        try:
            self._check((x, y, z + self._depth))
        except ValueError as error:
            raise TeachError(str(error)) from None
        self._taken.append(np.array([x, y, z]))
        port = len(self._means) + 1
        if len(self._taken) < self._repeats:
            return f"port {port}: taken"
        taken, self._taken = np.array(self._taken), []
        mean = taken.mean(axis=0)
        spread = float(np.linalg.norm(taken - mean, axis=1).max())
        if spread > self._tolerance:
            raise TeachError(
                f"port {port}: its teachings are up to {1000 * spread:.1f} mm from their mean, "
                f"{1000 * self._tolerance:.1f} mm would do; it is taught again"
            )
        self._means.append(mean + np.array([0.0, 0.0, self._depth]))
        self._spreads.append(spread)
        return f"port {port}: mouth at {self._means[-1].round(4).tolist()} m, spread {1000 * spread:.1f} mm"

    def placement(self, name: str, splits: tuple[str, ...]) -> Placement:
        """What was taught. Raises TeachError before the end."""
        if not self.finished:
            raise TeachError(f"{len(self._means)} of {self._ports} ports are taught")
        mouths = tuple((float(x), float(y), float(z)) for x, y, z in self._means)
        return Placement(name, mouths, tuple(self._spreads), (self._repeats,) * self._ports, splits)
