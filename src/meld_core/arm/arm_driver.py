"""What JointArm needs of the driver of one kind of arm."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from meld_core.arm.joint_path import JointPath


class ArmError(RuntimeError):
    """The arm or its driver cannot do what was asked; one clear sentence."""


class ArmDriver(Protocol):
    """Carries joint paths to an arm, and feeds the history and the pictures that it was made with."""

    def connect(self) -> np.ndarray:
        """Open the connection. Returns the rest pose (J,) [rad]. Raises RuntimeError with one sentence."""

    def send(self, path: JointPath) -> None:
        """Replace whatever the arm does by this path; returns at once. May be called from any thread."""

    def rested(self) -> None:
        """The arm lies in its rest pose."""

    def close(self) -> None:
        """Let go; the arm keeps its position, torque on."""
