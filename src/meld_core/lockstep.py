"""LockstepHost: one robot behind its gate in lockstep. It is the time authority, and knows nothing of ROS.

Every message of a step carries the step's stamp. Time advances only with a command for that very stamp, so that a
message which is lost, late or doubled changes nothing but the wall time. Only the host repeats: when no command comes
it publishes the same step again, with the executed action of the step before.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.config import GateConfig
from meld_core.robot import GateState, MotionGate, Robot
from meld_core.types import Frame, RobotState

STEP_PARTS = ("joint_states", "tool_pose", "image", "detector_image", "truth")


class BenchRobot(Robot, Protocol):
    """A robot that also is its own bench: a simulation."""

    def views(self) -> dict[str, Frame]:
        """`policy` and `detector` pictures with the stamp of `observe`."""

    def truth(self) -> dict[str, float]:
        """The simulator's knowledge at the same stamp."""


@dataclasses.dataclass(frozen=True)
class Step:
    """Everything that is published at one stamp."""

    state: RobotState
    frames: Mapping[str, Frame]
    truth: Mapping[str, float]
    executed: np.ndarray | None = None
    """The executed action that led here, (3,) float32; None right after a reset."""
    executed_stamp: int = 0
    """Stamp of the step that it was executed at [ns]."""


class LockstepHost:
    """Answers announcements, reset requests and commands; says what to publish.

    Methods that return True ask the caller to publish `step`; `report` may have changed after any call.
    """

    def __init__(
        self, robot: BenchRobot, gate: MotionGate, config: GateConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._robot, self._gate, self._config, self._clock = robot, gate, config, clock
        self._announced: Announcement | None = None
        self._prepared: EpisodeKey | None = None
        self._reset_key: EpisodeKey | None = None
        self._reset_stamp = 0
        self._wanted = False
        self._deadline = float("inf")
        self._repeats = 0
        self.step: Step | None = None
        self.steps, self.repeated = 0, 0
        """Steps executed, and steps published again, since the start."""

    @property
    def report(self) -> GateReport:
        """What `gate_state` says now."""
        key = self._announced.key if self._announced else None
        stamp = self._reset_stamp if key is not None and key == self._reset_key else 0
        return GateReport(self._gate.state, self._gate.reason, key, stamp, STEP_PARTS)

    def announce(self, announcement: Announcement) -> None:
        """Take note of the next episode. The one before it is over: the arm holds until the reset."""
        if self._announced and announcement.key == self._announced.key:
            return
        self._announced, self._deadline = announcement, float("inf")
        self._gate.hold("waiting for the reset of the announced episode")

    def request_reset(self) -> str:
        """Ask for the reset of the announced episode; `run_reset` does it. Returns why it is refused, or ''."""
        if self._announced is None:
            return "no task was announced"
        if self._gate.state is GateState.STOPPED:
            return f"the arm is STOPPED ({self._gate.reason}); call clear_stop first"
        if self._announced.key == self._reset_key and self._gate.state is not GateState.POLICY:
            return f"this episode was reset already and ended in {self._gate.state.value}: {self._gate.reason}"
        self._wanted = True
        return ""

    def run_reset(self) -> bool:
        """Do the reset that was asked for; a repeated request only publishes again.

        Raises:
            RuntimeError: where the robot cannot; the gate holds.
        """
        if not self._wanted or self._announced is None:
            return False
        self._wanted = False
        key = self._announced.key
        if key != self._reset_key:
            if not key.same_trial(self._prepared):
                self._robot.set_task(self._announced.task)
                self._prepared = key
            self._gate.reset()
            self._reset_key = key
            self.step = self._observe(None, 0)
            self._reset_stamp = self.step.state.stamp
            self._repeats = 0
        return self._publishes()

    def command(self, action: np.ndarray, stamp: int, sender: str) -> bool:
        """One command. True where it used up the control period and a new step stands."""
        if self.step is None:
            return False
        if self.step.executed is not None and stamp == self.step.executed_stamp:
            return False  # the answer to a step that was published twice
        verdict = self._gate.command(action, stamp, sender, self.step.state)
        if not verdict.uses_period:
            return False
        self._robot.wait()
        self.step = self._observe(verdict.executed, stamp)
        self.steps, self._repeats = self.steps + 1, 0
        return self._publishes()

    def _observe(self, executed: np.ndarray | None, stamp: int) -> Step:
        return Step(self._robot.observe(), self._robot.views(), self._robot.truth(), executed, stamp)

    def overdue(self) -> bool:
        """True where no command came in time and the step must be published again; in the end the arm holds."""
        if self._clock() < self._deadline or self._gate.state is not GateState.POLICY:
            return False
        if self._repeats >= self._config.step_retries:
            self._deadline = float("inf")
            self._gate.hold(f"no command came although the step was published {self._repeats + 1} times")
            return False
        self._repeats, self.repeated = self._repeats + 1, self.repeated + 1
        return self._publishes()

    def policy_lost(self) -> None:
        """The lease of the policy ended."""
        if self._gate.state is GateState.POLICY:
            self._gate.policy_lost()

    def policy_back(self) -> bool:
        """The lease goes on after a gap. In lockstep time stood still meanwhile: the episode goes on where it was."""
        return self._gate.policy_back() and self._publishes()

    def _publishes(self) -> bool:
        self._deadline = self._clock() + self._config.step_timeout
        return True
