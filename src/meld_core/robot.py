"""What any arm and any camera must do: the contracts that simulation, hardware and fakes share."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from meld_core.tasks import Task
from meld_core.types import Frame, RobotState


@dataclasses.dataclass(frozen=True)
class Limits:
    """What an arm may do; known before connecting."""

    joint_names: tuple[str, ...]
    joint_lower: np.ndarray
    """(J,) [rad]."""
    joint_upper: np.ndarray
    """(J,) [rad]."""
    joint_velocity: np.ndarray
    """(J,) [rad/s], positive."""
    workspace_lower: np.ndarray
    """(3,) [m], tool position in base_link."""
    workspace_upper: np.ndarray
    """(3,) [m]."""
    step_size: float
    """Tool displacement of an action component of 1 [m per control period]."""
    control_period: float
    """[s]."""


class Robot(Protocol):
    """One arm. Only the MotionGate calls `apply`."""

    limits: Limits

    def connect(self) -> None:
        """Open the device. Raises RuntimeError with one sentence where it cannot."""

    def set_task(self, task: Task) -> None:
        """Prepare the bench for a task: simulation sets it, a real bench asks the operator."""

    def reset(self) -> None:
        """Bring the arm to its start pose."""

    def observe(self) -> RobotState:
        """Measured state. Raises RuntimeError if it is stale."""

    def apply(self, action: np.ndarray) -> np.ndarray:
        """Start one control period with a tool displacement; (A,) float32 in [-1, 1] → the clamped command."""

    def wait(self) -> None:
        """End the control period: simulation steps, an arm sleeps."""

    def hold(self) -> None:
        """Actively hold the position, torque on."""

    def close(self) -> None:
        """Park and let go of the device; never drops the arm. Safe to call twice."""


class Camera(Protocol):
    """One source of pictures."""

    def read(self) -> Frame:
        """The newest picture. Raises RuntimeError if it is stale or frozen."""
