"""What really happened, by the recording of a stand-in driver, and whether that was safe.

Times are the machine's steady clock [s], taken in the stand-in's process. Nothing here asks the stack what it did.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

MOVES = 0.15
"""A command whose goal lies further than this from where the arm is wants motion, however short it is [rad]. A hold may
name a place where a moving arm was some tens of milliseconds ago; on a busy machine, some hundreds."""
STEP = 0.15
"""A command that takes longer than this is a step of a policy [s]: holds take 0.1 s, steps a control period."""
REST = 0.05
"""A joint slower than this rests [rad/s]."""
WINDOW = 0.05
"""Speeds are means over this time [s]."""
OUTSIDE = 0.003
"""Servos may carry the tool this far beyond the box [m]."""
BRAKING = 0.35
"""An arm that is told to hold comes to rest within this time [s]: 0.1 s of path, the servos' lag, a window."""
SETTLE = 0.5
"""After a reset's path the arm is within the box for good [s]."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that the driver took."""

    at: float
    goal: np.ndarray
    """(6,) [rad], its last point."""
    points: int
    """1: a step or a hold; more: the way of a reset, or to the rest pose."""
    span: float
    """[s]."""
    joints: np.ndarray
    """Where the arm was, (6,) [rad]."""

    @property
    def moves(self) -> bool:
        """Whether it asks for motion, or obeys a policy that might. What is no number asks for anything."""
        far = np.abs(self.goal - self.joints).max()
        return not math.isfinite(far) or bool(far > MOVES) or self.span > STEP

    @property
    def is_way(self) -> bool:
        """Whether it is the way of a reset or of parking."""
        return self.points > 1


class Recording:
    """A file that a stand-in is writing."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0
        self.commands: list[Command] = []
        self._ticks: list[list[float]] = []

    def refresh(self) -> None:
        """Read what is new."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for line in data[:whole].splitlines():
            self._add(json.loads(line))

    def _add(self, line: dict[str, object]) -> None:
        joints = np.array(line["joints"], np.float64)
        if "goal" in line:
            goal = np.array(line["goal"], np.float64)
            self.commands.append(Command(line["t"], goal, line["points"], line["span"], joints))  # type: ignore[arg-type]
        else:
            self._ticks.append([line["t"], *joints, *line["tip"]])  # type: ignore[list-item, misc]

    @property
    def now(self) -> float:
        """Time of the newest tick."""
        return self._ticks[-1][0] if self._ticks else 0.0

    def ticks(self, since: float = 0.0) -> np.ndarray:
        """(N, 10): time [s], joints [rad], tip [m]."""
        first = len(self._ticks)
        while first > 0 and self._ticks[first - 1][0] >= since:
            first -= 1
        return np.array(self._ticks[first:]).reshape(-1, 10)

    def speeds(self, since: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Times (N,) and the speed of the fastest joint over the window before each, (N,) [rad/s]."""
        return speeds_of(self.ticks(since))

    def between(self, begin: float, end: float = math.inf) -> list[Command]:
        """Commands that were taken in a span of time."""
        return [command for command in self.commands if begin < command.at <= end]

    def held_at(self, since: float, until: float = math.inf) -> float | None:
        """When the first hold came after which nothing asked for motion; None where none came."""
        found = None
        for command in self.between(since, until):
            if command.moves or command.is_way:
                found = None
            elif found is None:
                found = command.at
        return found

    def rested_at(self, since: float, until: float = math.inf) -> float | None:
        """From when on the arm rested; None where it moves still."""
        times, speeds = self.speeds(since)
        inside = times <= until
        moving = np.flatnonzero(speeds[inside] > REST)
        if not len(moving):
            return since
        last = int(moving[-1])
        return float(times[inside][last + 1]) if last + 1 < inside.sum() else None

    def next_way(self, since: float) -> float:
        """When the next reset (or parking) began; infinity where none did."""
        return next((command.at for command in self.between(since) if command.is_way), math.inf)


def speeds_of(ticks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times (N,) and speeds of the fastest joint over the window before each (N,), of ticks (N, 10)."""
    if len(ticks) < 2:
        return np.zeros(0), np.zeros(0)
    times, joints = ticks[:, 0], ticks[:, 1:7]
    before = np.searchsorted(times, times - WINDOW, side="right") - 1
    inside = before >= 0
    span = times[inside] - times[before[inside]]
    return times[inside], np.abs(joints[inside] - joints[before[inside]]).max(axis=1) / np.maximum(span, 1e-3)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What may never be exceeded."""

    speed: float
    """Of any joint [rad/s]."""
    lower: np.ndarray
    """Corner of the workspace, (3,) [m] in base_link."""
    upper: np.ndarray


@dataclasses.dataclass(frozen=True)
class Still:
    """A span in which the arm had to rest."""

    begin: float
    end: float


def unsafe_samples(recording: Recording, bounds: Bounds, still: list[Still], since: float = 0.0) -> dict[str, int]:
    """Recorded samples since a time at which something happened that may not: by kind."""
    ticks = recording.ticks(since)
    times, speeds = speeds_of(ticks)
    resting = np.zeros(len(times), bool)
    for span in still:
        resting |= (times > span.begin) & (times <= span.end)
    tips = ticks[:, 7:10]
    out = ((tips < bounds.lower - OUTSIDE) | (tips > bounds.upper + OUTSIDE)).any(axis=1)
    return {
        "too fast": int((speeds > bounds.speed).sum()),
        "outside the box": int((out & in_step_control(recording, ticks[:, 0])).sum()),
        "moved while it had to rest": int((resting & (speeds > REST)).sum()),
    }


def in_step_control(recording: Recording, times: np.ndarray) -> np.ndarray:
    """Whether the arm obeyed steps and holds, not the way of a reset or of parking, at these times, (N,) bool."""
    inside, begin, arrival = np.zeros(len(times), bool), math.inf, math.inf
    for command in recording.commands:
        if command.is_way:
            inside |= (times >= begin) & (times < command.at)
            begin, arrival = math.inf, command.at + command.span + SETTLE
        elif command.moves and begin == math.inf:
            begin = max(command.at, arrival)
    return inside | (times >= begin)
