"""What the collector needs of the robot's side: a link, the phases of a round, a person's commands."""

from __future__ import annotations

import enum
from collections import deque
from typing import Protocol

import numpy as np

from meld_core.announce import Announcement


class Link(Protocol):
    """What the collector says to the robot's side."""

    def announce(self, announcement: Announcement) -> None:
        """Say which episode comes next."""

    def request_reset(self) -> None:
        """Ask for its reset; the answer is the gate's report."""

    def command(self, action: np.ndarray, stamp: int) -> None:
        """Send (A,) float32 for the observation with this stamp."""


class Phase(enum.Enum):
    """Where in its round the collector is."""

    ANNOUNCED = "waiting for the robot"
    NEEDS_WEIGHTS = "waiting for weights"
    RESETTING = "waiting for the reset"
    RUNNING = "running"
    FINISHED = "finished"


class PersonCommands:
    """Commands of a person as they were executed: they come when they come, and the arm rests between them."""

    def __init__(self) -> None:
        self._given: deque[tuple[int, np.ndarray]] = deque()
        self.since = 0
        """Observations before this stamp [ns] do not show what the newest command did."""

    def add(self, stamp: int, action: np.ndarray) -> None:
        """One command for the observation with this stamp, as the gate let it through."""
        self._given.append((stamp, action))

    def after(self, stamp: int) -> np.ndarray | None:
        """The first command since the observation with this stamp, which the arm rested at; None before it."""
        while self._given:
            given, action = self._given.popleft()
            if given >= stamp:
                self.since = given + 1
                return action
        return None
