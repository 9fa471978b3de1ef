"""What a stand-in did and was told, one JSON object per line, by the machine's steady clock: what tests judge by.

`{"t", "joints", "tip"}`: where the arm truly was, every tick. `{"t", "goal", "points", "span", "joints"}`: a command
that the driver took, its last point, how many points it had, how long it lasts [s], and where the arm was then.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np


def note(path: str, fault: str) -> None:
    """Append when a fault began, by the steady clock, to a file that several stand-ins share."""
    if path:
        with open(path, "a", encoding="ascii") as file:
            file.write(f"{time.monotonic()} {fault}\n")


class Recorder:
    """Writes lines at once: whoever reads the file sees the present, also when the stand-in is killed."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "w", buffering=1, encoding="ascii") if path else None  # noqa: SIM115 - until the end

    def tick(self, at: float, joints: np.ndarray, tip: np.ndarray) -> None:
        """Where the arm is, (6,) [rad], and the tip of its plug, (3,) [m] in base_link."""
        self._write(t=at, joints=joints.round(6).tolist(), tip=tip.round(6).tolist())

    def command(self, at: float, goal: np.ndarray, points: int, span: float, joints: np.ndarray) -> None:
        """A command that was taken."""
        self._write(t=at, goal=goal.tolist(), points=points, span=span, joints=joints.tolist())

    def _write(self, **line: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
