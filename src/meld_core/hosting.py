"""Hosts: one robot behind its gate, in lockstep or in realtime, as the policy's side sees it. They know nothing of ROS.

LockstepHost is the time authority. Every message of a step carries the step's stamp, and time advances only with a
command for that very stamp, so that a
message which is lost, late or doubled changes nothing but the wall time. Only the host repeats: when no command comes
it publishes the same step again, with the executed action of the step before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from meld_core.announce import Announcement
from meld_core.config import GateConfig
from meld_core.gate_checks import Verdict
from meld_core.host import NOBODY, BenchRobot, Host, PersonDuties
from meld_core.robot import GateState, MotionGate
from meld_core.types import RobotState


class LockstepHost(Host):
    """Time advances with commands; an overdue one makes the step be published again."""

    def __init__(
        self,
        robot: BenchRobot,
        gate: MotionGate,
        config: GateConfig,
        clock: Callable[[], float] = time.monotonic,
        person: PersonDuties = NOBODY,
    ) -> None:
        super().__init__(robot, gate, person, clock)
        self._config = config
        self._deadline = float("inf")
        self._repeats = 0
        self.repeated = 0
        """Steps that were published again, since the start."""

    def announce(self, announcement: Announcement) -> None:
        """Take note of the next episode; no command is due until its reset."""
        if not self._announced or announcement.key != self._announced.key:
            self._deadline, self._repeats = float("inf"), 0
        super().announce(announcement)

    def command(
        self, action: np.ndarray, stamp: int, sender: str, role: GateState = GateState.POLICY
    ) -> Verdict | None:
        """One command. Its verdict, after which `step` is to be published if it used up the period; None if doubled."""
        self._hears(sender)
        if self.step is None or (self.step.executed is not None and stamp == self.step.executed_stamp):
            return None
        verdict = self._gate.command(action, stamp, sender, self.step.state, role)
        if verdict.uses_period:
            self._robot.wait()
            self.step = self._look(verdict.executed, stamp)
            self.steps, self._repeats = self.steps + 1, 0
            self._publishes()
        return verdict

    def tick(self) -> bool:
        """True where no command came in time and the step must be published again; in the end the arm holds."""
        self.watch_person()
        if self._clock() < self._deadline or self._gate.state not in (GateState.POLICY, GateState.TELEOP):
            return False
        if self._gate.state is GateState.TELEOP:  # a person takes the time that it takes
            return self._publishes()
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

    _newest: tuple[str, int] = ("", -1)
    """Sender and stamp of the newest command."""

    def command(
        self, action: np.ndarray, stamp: int, sender: str, role: GateState = GateState.POLICY
    ) -> Verdict | None:
        """One command, judged by the newest state. Its verdict; what was executed is published with its stamp."""
        self._hears(sender)
        if role is GateState.TELEOP and (sender, stamp) == self._newest:
            return None  # a sign of life
        self._newest = (sender, stamp)
        state = self._observed()
        if state is None:
            return Verdict(np.zeros(3, np.float32), False, "robot_state", self._gate.reason)
        verdict = self._gate.command(action, stamp, sender, state, role)
        self.steps += int(verdict.accepted)
        return verdict

    def watch(self) -> None:
        """Let a command expire, break off what must not go on, judge person's client and newest state. May stop it."""
        self.watch_person()
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
        """True with a new `step`, once the arm was reset or given to a person."""
        if not self._seen:
            return False
        before = self.step
        try:
            self.step = self._look(None, 0)
        except RuntimeError as error:
            self._gate.stop(str(error))
            return False
        return before is None or self.step.state.stamp > before.state.stamp
