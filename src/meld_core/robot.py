"""What any arm and any camera must do, and the MotionGate: the last word on every motion.

The gate is software. It replaces no hardware emergency stop.
"""

from __future__ import annotations

import collections
import enum
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from meld_core.config import GateConfig, RobotConfig
from meld_core.gate_checks import StateWatch, Verdict, wrong_action, wrong_stamp
from meld_core.tasks import Task
from meld_core.types import Frame, Limits, RobotState

_EXECUTED_AS_HOLD = {"lockstep": ("action", "robot_state"), "realtime": ("action", "robot_state", "stale", "future")}
"""Kinds of refusal that use up the control period. In lockstep a late or doubled command is none of this period."""


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

    def begin_here(self, episode: bool) -> None:
        """Go on with the arm where a person left it, at a new stamp; `episode`: another one begins here."""

    def park(self) -> None:
        """Bring the arm to its rest pose and hold it there."""

    def hold(self) -> None:
        """Actively hold the position, torque on. May be called from any thread, also during `reset` and `wait`."""

    def close(self, park: bool = True) -> None:
        """Park (a STOPPED arm stays where it is) and let go of the device; never drops the arm. Safe to call twice."""


class Camera(Protocol):
    """One source of pictures."""

    def read(self) -> Frame:
        """The newest picture. Raises RuntimeError if it is stale or frozen."""


_POLICY_LOST = "the policy was lost"


class GateState(enum.Enum):
    """Who may move the arm."""

    HOLD = "HOLD"
    """Nobody: the arm holds its position until the next reset."""
    POLICY = "POLICY"
    TELEOP = "TELEOP"
    RESET = "RESET"
    """The robot itself, on its way to the start pose."""
    STOPPED = "STOPPED"
    """Nobody, and only `clear_stop` ends it."""


class MotionGate:
    """Alone calls `Robot.apply`: refuses what is wrong, clamps what is too far, holds when in doubt.

    A command authorises one bounded displacement. In lockstep its stamp must be the current step's; in realtime it
    must be recent and newer than the last one, and it expires. The first sender of a command owns the gate until its
    lease ends (`policy_lost`, or the expiry of its command).
    """

    def __init__(
        self, robot: Robot, config: GateConfig, robot_config: RobotConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._robot, self._config, self._clock = robot, config, clock
        self._lockstep = robot_config.mode == "lockstep"
        self._lock = threading.RLock()
        self.state = GateState.HOLD
        self.reason = "no reset yet"
        """Why the gate is in its state, one sentence."""
        self.counters: collections.Counter[str] = collections.Counter()
        """Refusals by kind (state, robot_state, sender, stale, future, repeated, action), and `clamped`, `expired`,
        `implausible_state`, `lagging_state`."""
        self._resetting = False
        self._owner: str | None = None
        self._lost_owner: str | None = None
        self._last_stamp = -1
        self._expires = float("inf")
        self._watch = StateWatch(config, robot.limits.joint_names, robot.limits.joint_velocity, self.counters)

    @property
    def owner(self) -> str | None:
        """Who commands now."""
        return self._owner

    def reset(self, opens: GateState = GateState.POLICY) -> None:
        """Bring the arm to its start pose, then let `opens` (POLICY or TELEOP) command it.

        Raises:
            RuntimeError: where the gate is STOPPED, or the robot cannot reset (it holds then).
        """
        self._travel(self._robot.reset, "reset", "on the way to the start pose", opens)

    def park(self) -> None:
        """Bring the arm to its rest pose and hold there. Raises RuntimeError as `reset`."""
        self._travel(self._robot.park, "parking", "on the way to the rest pose", GateState.HOLD, "parked")

    def open(self, state: GateState, reason: str = "", episode: bool = False) -> None:
        """Let `state` (POLICY or TELEOP) command the arm from where it is. Raises RuntimeError as `reset`."""
        self._travel(lambda: self._robot.begin_here(episode), "taking over", "looking at the arm", state, reason)

    def _travel(self, go: Callable[[], None], what: str, meanwhile: str, opens: GateState, reason: str = "") -> None:
        with self._lock:
            if self.state is GateState.STOPPED:
                raise RuntimeError(f"the arm is STOPPED ({self.reason}); call clear_stop first")
            self._enter(GateState.RESET, meanwhile)
        self._resetting = True
        try:
            go()
        except Exception as error:
            self.hold(f"{what} failed: {error}")
            raise
        finally:
            self._resetting = False
        with self._lock:
            self._watch.forget()
            if self.state is GateState.RESET:  # else it was stopped or the policy was lost meanwhile
                self._enter(opens, reason)

    def command(
        self, action: np.ndarray, stamp: int, sender: str, state: RobotState, role: GateState = GateState.POLICY
    ) -> Verdict:
        """Judge one command and start its control period; a refused one executes as hold.

        Args:
            action: (3,) float32 in [-1, 1], tool displacement along base_link's axes in units of `limits.step_size`.
            stamp: Stamp of the observation that it answers [ns].
            sender: Who commands.
            state: Newest measured state; in lockstep that of the current step.
            role: The state in which this kind of sender may command.
        """
        with self._lock:
            self.watch(state)
            refusal = self._refusal(action, stamp, sender, state.stamp, role)
            if refusal:
                return self._refuse(*refusal)
            self._owner, self._last_stamp = sender, stamp
            command = self._clamp(action, state.tool_position)
            try:
                executed = np.asarray(self._robot.apply(command), dtype=np.float32)
            except RuntimeError as error:
                self.stop(f"the robot failed: {error}")
                return self._refuse("robot_state", self.reason)
            self.counters["clamped"] += int(not np.array_equal(executed, action))
            self._watch.target = state.tool_position + executed.astype(np.float64) * self._robot.limits.step_size
            self._expires = self._clock() + self._config.expiry_periods * self._robot.limits.control_period
            return Verdict(executed, True)

    def _refuse(self, kind: str, reason: str) -> Verdict:
        self.counters[kind] += 1
        as_hold = kind in _EXECUTED_AS_HOLD["lockstep" if self._lockstep else "realtime"]
        if as_hold:
            self._robot.hold()
            self._watch.target = None
        return Verdict(np.zeros(3, np.float32), False, kind, reason, as_hold)

    def _refusal(
        self, action: np.ndarray, stamp: int, sender: str, now: int, role: GateState
    ) -> tuple[str, str] | None:
        """Kind and sentence of the first thing that is wrong with a command."""
        if self.state is not role:
            return "state", f"the arm is in {self.state.value} ({self.reason}) and takes no command"
        if not sender:
            return "sender", "several publish commands, and this ROS distribution does not tell whose is whose"
        if self._owner is not None and sender != self._owner:
            return "sender", f"'{sender}' commands while '{self._owner}' owns the arm"
        late = wrong_stamp(stamp, now, self._last_stamp, self._lockstep, self._config)
        if late or self._watch.plausible:
            return late or wrong_action(action)
        return "robot_state", "the measured state is not plausible"

    def _clamp(self, action: np.ndarray, tool: np.ndarray) -> np.ndarray:
        """Into [-1, 1] and the workspace box less its margin; components that fit stay bit for bit."""
        limits, margin = self._robot.limits, self._config.workspace_margin
        command = np.clip(action, np.float32(-1), np.float32(1))
        wanted = tool + command.astype(np.float64) * limits.step_size
        target = np.clip(wanted, limits.workspace_lower + margin, limits.workspace_upper - margin)
        inside = np.clip((target - tool) / limits.step_size, -1.0, 1.0)
        clamped: np.ndarray = np.where(target == wanted, command, inside).astype(np.float32)
        return clamped

    def watch(self, state: RobotState) -> bool:
        """Look at a measured state, once per stamp; whether it is plausible. May stop the arm (see `StateWatch`)."""
        with self._lock:
            reason = self._watch.look(state)
            if reason:
                self.stop(reason)
            return self._watch.plausible

    def expire(self) -> bool:
        """Realtime: hold when the last command is older than `gate.expiry_periods`, and free the gate; whether it did.

        Time is the steady clock's, so that no jump of the system's clock prolongs a command.
        """
        with self._lock:
            if self._lockstep or self._clock() < self._expires:
                return False
            self.counters["expired"] += 1
            self._release()
            self._robot.hold()
            return True

    def insist(self) -> None:
        """Hold once more where a reset goes on although it was broken off: the hold may have come before it moved."""
        with self._lock:
            if self._resetting and self.state is not GateState.RESET:
                self._robot.hold()

    def let_go(self) -> None:
        """The owner has let go: hold the position; whoever commands next owns the gate. The state stays."""
        with self._lock:
            if self._owner is not None:
                self._release()
                self._robot.hold()

    def policy_lost(self) -> None:
        """The owner's lease ended: hold until the next reset."""
        with self._lock:
            lost = self._owner
            self.hold(_POLICY_LOST)
            self._lost_owner = lost

    def policy_back(self) -> bool:
        """A lost policy is back. Whether the episode goes on: in lockstep only, where time stood still meanwhile."""
        with self._lock:
            back = self._lockstep and self.state is GateState.HOLD and self.reason == _POLICY_LOST
            if back:
                self._enter(GateState.POLICY, "")
                self._owner = self._lost_owner  # nobody else may go on where it was
            return back

    def hold(self, reason: str) -> None:
        """Hold the position until the next reset. A stop stays a stop."""
        with self._lock:
            if self.state is not GateState.STOPPED:
                self._enter(GateState.HOLD, reason)
                self._robot.hold()

    def stop(self, reason: str) -> None:
        """Hold the position until `clear_stop`. May be called from any thread."""
        with self._lock:
            if self.state is not GateState.STOPPED:
                self._enter(GateState.STOPPED, reason)
            self._robot.hold()

    def clear_stop(self) -> None:
        """Leave STOPPED for HOLD; motion begins only with the next reset."""
        with self._lock:
            if self.state is GateState.STOPPED:
                self._watch.forget()
                self._enter(GateState.HOLD, "the stop was cleared")

    def _enter(self, state: GateState, reason: str) -> None:
        self.state, self.reason = state, reason
        self._release()

    def _release(self) -> None:
        self._owner, self._watch.target = None, None
        self._expires = float("inf")
