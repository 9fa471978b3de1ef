"""What the MotionGate looks at: stamps and numbers of commands, plausibility of measured states, tracking."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable

import numpy as np

from meld_core.config import GateConfig
from meld_core.types import RobotState

_IMPLAUSIBLE_SAMPLES = 3
"""So many implausible states in a row stop the arm: some drivers go on publishing freshly stamped nonsense."""
_JUMP_SLACK = 0.1
"""A joint may change by this much besides what its largest speed allows: resolution and jitter of stamps [rad]."""


class StopButton:
    """A button that says again and again whether it is pressed: its silence is as bad as a press.

    Args:
        timeout: Longest silence [s]; 0: no button is required, and only a press counts.
        clock: Steady seconds.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._clock = timeout, clock
        self._heard, self._pressed = clock(), False

    def heard(self, pressed: bool) -> None:
        """The button said something."""
        self._heard, self._pressed = self._clock(), pressed

    def problem(self) -> str:
        """Why the arm must be STOPPED, in a sentence; "" where it need not."""
        if self._pressed:
            return "the stop button is pressed"
        silence = self._clock() - self._heard
        if self._timeout > 0 and silence > self._timeout:
            return f"nothing came on stop_button for {self._timeout} s (gate.button_timeout)"
        return ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the gate made of a command."""

    executed: np.ndarray
    """(3,) float32 in [-1, 1]: the action to learn from; zeros where the command was refused."""
    accepted: bool
    kind: str = ""
    """Key of `MotionGate.counters` where the command was refused."""
    reason: str = ""
    """One sentence where the command was refused."""
    uses_period: bool = True
    """Whether this was the command of its control period: accepted, or executed as hold."""


class StateWatch:
    """Looks at every measured state once, by its stamp."""

    def __init__(
        self,
        config: GateConfig,
        joint_names: tuple[str, ...],
        joint_velocity: np.ndarray,
        counters: collections.Counter[str],
    ) -> None:
        self._config, self._joint_names, self._joint_velocity, self._counters = (
            config, joint_names, joint_velocity, counters)  # fmt: skip
        self.forget()

    def forget(self) -> None:
        """The arm was moved by others: the next state is judged by itself."""
        self.target: np.ndarray | None = None
        """Where the tool should be, (3,) [m] in base_link; None while nothing is commanded."""
        self._reference: RobotState | None = None
        self._seen: int | None = None
        self._implausible = 0
        self._lagging_since: int | None = None

    @property
    def plausible(self) -> bool:
        """Whether the newest state was plausible."""
        return self._implausible == 0

    def look(self, state: RobotState) -> str:
        """Judge a state. Returns the reason to stop the arm, or ''.

        The third implausible state in a row is such a reason, and a tool that lags its target for
        `gate.tracking_patience`.
        """
        if state.stamp == self._seen:
            return ""
        self._seen = state.stamp
        problem = self._problem(state)
        if problem:
            self._implausible += 1
            self._counters["implausible_state"] += 1
            return problem if self._implausible >= _IMPLAUSIBLE_SAMPLES else ""
        self._implausible, self._reference = 0, state
        return self._lag(state)

    def _problem(self, state: RobotState) -> str:
        if not all(np.isfinite(array).all() for array in (state.joints, state.velocities, state.tool_position)):
            return "the measured state is not finite numbers"
        if self._reference is None:
            return ""
        jumps = np.abs(state.joints - self._reference.joints)
        gap = max((state.stamp - self._reference.stamp) * 1e-9, 0.0)
        allowed = np.minimum(self._joint_velocity * gap + _JUMP_SLACK, self._config.max_joint_jump)
        worst = int((jumps - allowed).argmax())
        if jumps[worst] <= allowed[worst]:
            return ""
        return (
            f"joint '{self._joint_names[worst]}' jumped by {jumps[worst]:.2f} rad in {gap:.3f} s, more than "
            f"{allowed[worst]:.2f} rad (gate.max_joint_speed, gate.max_joint_jump)"
        )

    def _lag(self, state: RobotState) -> str:
        lag = 0.0 if self.target is None else float(np.linalg.norm(state.tool_position - self.target))
        if lag <= self._config.max_tracking_error:
            self._lagging_since = None
            return ""
        self._counters["lagging_state"] += 1
        if self._lagging_since is None:
            self._lagging_since = state.stamp
        if (state.stamp - self._lagging_since) * 1e-9 < self._config.tracking_patience:
            return ""
        return f"the tool is {lag:.3f} m from its target, more than gate.max_tracking_error for gate.tracking_patience"


def wrong_stamp(stamp: int, now: int, last: int, lockstep: bool, config: GateConfig) -> tuple[str, str] | None:
    """Kind and sentence where a command's stamp is not acceptable. All stamps in [ns], `now` of the newest state."""
    age = (now - stamp) * 1e-9
    oldest, newest = (0.0, 0.0) if lockstep else (config.max_age, config.max_future)
    if age > oldest:
        return "stale", f"the command answers an observation of {age:.3f} s ago, at most {oldest} s is allowed"
    if -age > newest:
        return "future", f"the command answers an observation {-age:.3f} s in the future, at most {newest} s is allowed"
    if not lockstep and stamp <= last:
        return "repeated", "the command answers no newer observation than the one before it"
    return None


def wrong_action(action: np.ndarray) -> tuple[str, str] | None:
    """Kind and sentence where this is no (3,) float32 of finite numbers."""
    if not isinstance(action, np.ndarray) or action.dtype != np.float32 or action.shape != (3,):
        got = f"{action.dtype}{action.shape}" if isinstance(action, np.ndarray) else type(action).__name__
        return "action", f"an action is float32(3,), got {got}"
    if not np.isfinite(action).all():
        return "action", f"an action is 3 finite numbers, got {action.tolist()}"
    return None
