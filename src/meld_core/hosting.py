"""Hosts: one robot behind its gate, in lockstep or in realtime, as the policy's side sees it. They know nothing of ROS.

LockstepHost is the time authority. Every message of a step carries the step's stamp, and time advances only with a
command for that very stamp, so that a
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
from meld_core.robot import GateState, MotionGate, Robot, Verdict
from meld_core.types import Frame, RobotState

STEP_PARTS = ("joint_states", "tool_pose", "image", "detector_image", "truth")


class BenchRobot(Robot, Protocol):
    """A robot that also tells when the bench is looked at: a simulation with its cameras, or an arm beside cameras."""

    def look(self) -> tuple[RobotState, dict[str, Frame], dict[str, float]]:
        """State, `policy` and `detector` pictures, and the simulator's knowledge, all at one stamp.

        An arm gives its state at the stamp of the newest picture, which a camera publishes; it has no pictures itself,
        and it knows nothing.
        """


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


class Host:
    """What both modes share: announcements, resets, reports.

    Methods that return True ask the caller to publish `step`; `report` may have changed after any call.
    """

    def __init__(self, robot: BenchRobot, gate: MotionGate) -> None:
        self._robot, self._gate = robot, gate
        self._announced: Announcement | None = None
        self._prepared: EpisodeKey | None = None
        self._reset_key: EpisodeKey | None = None
        self._reset_stamp = 0
        self._wanted = False
        self.step: Step | None = None
        self.steps = 0
        """Commands that used up a control period, since the start."""

    @property
    def report(self) -> GateReport:
        """What `gate_state` says now."""
        key = self._announced.key if self._announced else None
        stamp = self._reset_stamp if key is not None and key == self._reset_key else 0
        parts = tuple(part for part in STEP_PARTS if part != "truth" or self.step is None or self.step.truth)
        return GateReport(self._gate.state, self._gate.reason, key, stamp, parts)

    def announce(self, announcement: Announcement) -> None:
        """Take note of the next episode. The one before it is over: the arm holds until the reset."""
        if self._announced and announcement.key == self._announced.key:
            return
        self._announced = announcement
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
            RuntimeError, ValueError: where the robot cannot; the arm holds.
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
            self.step = self._look(None, 0)
            self._reset_stamp = self.step.state.stamp
        return self._publishes()

    def _look(self, executed: np.ndarray | None, stamp: int) -> Step:
        return Step(*self._robot.look(), executed, stamp)

    def _publishes(self) -> bool:
        return True

    def policy_lost(self) -> None:
        """The lease of the policy ended."""
        if self._gate.state is GateState.POLICY:
            self._gate.policy_lost()

    def policy_back(self) -> bool:
        """The lease goes on after a gap. In lockstep time stood still meanwhile: the episode goes on where it was."""
        return self._gate.policy_back() and self._publishes()


class LockstepHost(Host):
    """Time advances with commands; an overdue one makes the step be published again."""

    def __init__(
        self, robot: BenchRobot, gate: MotionGate, config: GateConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(robot, gate)
        self._config, self._clock = config, clock
        self._deadline = float("inf")
        self._repeats = 0
        self.repeated = 0
        """Steps that were published again, since the start."""

    def announce(self, announcement: Announcement) -> None:
        """Take note of the next episode; no command is due until its reset."""
        if not self._announced or announcement.key != self._announced.key:
            self._deadline, self._repeats = float("inf"), 0
        super().announce(announcement)

    def command(self, action: np.ndarray, stamp: int, sender: str) -> Verdict | None:
        """One command. Its verdict, after which `step` is to be published if it used up the period; None if doubled."""
        if self.step is None or (self.step.executed is not None and stamp == self.step.executed_stamp):
            return None
        verdict = self._gate.command(action, stamp, sender, self.step.state)
        if verdict.uses_period:
            self._robot.wait()
            self.step = self._look(verdict.executed, stamp)
            self.steps, self._repeats = self.steps + 1, 0
            self._publishes()
        return verdict

    def tick(self) -> bool:
        """True where no command came in time and the step must be published again; in the end the arm holds."""
        if self._clock() < self._deadline or self._gate.state is not GateState.POLICY:
            return False
        if self._repeats >= self._config.step_retries:
            self._deadline = float("inf")
            self._gate.hold(f"no command came although the step was published {self._repeats + 1} times")
            return False
        self._repeats, self.repeated = self._repeats + 1, self.repeated + 1
        return self._publishes()

    def _publishes(self) -> bool:
        self._deadline = self._clock() + self._config.step_timeout
        return True


class RealtimeHost(Host):
    """Time runs by itself: `tick` at the control rate brings what the bench shows; commands come when they come.

    `watch` looks after the arm much more often, in a thread of its own: nothing that the robot does delays it.
    """

    def command(self, action: np.ndarray, stamp: int, sender: str) -> Verdict | None:
        """One command, judged by the newest state. Its verdict; what was executed is published with its stamp."""
        state = self._observed()
        if state is None:
            return Verdict(np.zeros(3, np.float32), False, "robot_state", self._gate.reason)
        verdict = self._gate.command(action, stamp, sender, state)
        self.steps += int(verdict.accepted)
        return verdict

    def watch(self) -> None:
        """Let a command expire, break off what must not go on, judge the newest state. May stop the arm."""
        self._gate.expire()
        self._gate.insist()
        state = self._observed()
        if state is not None:
            self._gate.watch(state)

    def _observed(self) -> RobotState | None:
        try:
            return self._robot.observe()
        except RuntimeError as error:
            self._gate.stop(str(error))
            return None

    def tick(self) -> bool:
        """True with a new `step`, once the arm was reset."""
        if self._reset_key is None:
            return False
        before = self.step
        try:
            self.step = self._look(None, 0)
        except RuntimeError as error:
            self._gate.stop(str(error))
            return False
        return before is None or self.step.state.stamp > before.state.stamp
