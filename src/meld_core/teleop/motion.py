"""From where a person wants the tool to bounded steps, and from a joystick or a key to such a wish."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meld_core.config import Config, TeleopConfig
from meld_core.sim.arm import workspace


class Box:
    """Where a person may bring the tool: the workspace less the gate's margin. The gate itself clamps again."""

    def __init__(self, config: Config) -> None:
        lower, upper = workspace(config)
        self.lower, self.upper = lower + config.gate.workspace_margin, upper - config.gate.workspace_margin

    def clamp(self, position: np.ndarray) -> np.ndarray:
        """The nearest position inside, (3,) [m] in base_link."""
        return np.asarray(np.clip(position, self.lower, self.upper))


def step_to(goal: np.ndarray, tool: np.ndarray, step_size: float, speed: float) -> np.ndarray:
    """One step of a straight line from `tool` to `goal`, (3,) float32 action; its largest component is at most `speed`.

    Args:
        goal: (3,) [m].
        tool: (3,) [m], measured.
        step_size: Displacement of an action of 1 [m].
        speed: In (0, 1].
    """
    action = (goal - tool) / step_size
    largest = float(np.abs(action).max())
    return np.asarray(action * min(1.0, speed / largest) if largest > 0 else action, np.float32)


def joystick_direction(axes: Sequence[float], buttons: Sequence[int], config: TeleopConfig) -> np.ndarray | None:
    """Direction (3,) in [-1, 1] that a joystick asks for; None while its enabling button is not held.

    Axes or buttons that the joystick does not have count as zero.
    """
    if config.joy_enable >= len(buttons) or not buttons[config.joy_enable]:
        return None
    given = np.array([axes[i] if i < len(axes) else 0.0 for i in config.joy_axes], np.float64)
    given = np.clip(np.nan_to_num(given), -1.0, 1.0)
    return np.where(np.abs(given) > config.joy_deadzone, given, 0.0)


KEYS: dict[str, tuple[float, float, float]] = {
    "w": (1, 0, 0), "s": (-1, 0, 0), "a": (0, 1, 0), "d": (0, -1, 0), "r": (0, 0, 1), "f": (0, 0, -1),
}  # fmt: skip
"""Key → direction along base_link's axes: x forward, y left, z up (REP 103)."""
KEY_REQUESTS: dict[str, str] = {
    "t": "start_reset", "\n": "reset_done", "h": "home", "p": "park", " ": "stop", "c": "clear_stop",
    "+": "label_success", "-": "label_failure", "n": "next_task",
}  # fmt: skip
"""Key → request (see `session.MENU`)."""
