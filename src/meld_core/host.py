"""What every host of a robot does, in lockstep or in realtime: announcements, resets by the robot or by a person.

A person brings the arm to its start pose (`robot.reset`), sets up tasks (`robot.setup`), or demonstrates: whoever moves
the arm does it through the gate, in state TELEOP. The trial waits meanwhile, and `GateReport.waits_for` says for what.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.config import Config
from meld_core.robot import GateState, MotionGate, Robot
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


@dataclasses.dataclass(frozen=True)
class PersonDuties:
    """What a person does at this robot (settings robot.reset, robot.setup, gate.teleop_patience)."""

    resets: bool = False
    """Brings the arm to its start pose, and says `reset_done`."""
    sets_up: bool = False
    """Changes the bench between tasks, and says `next_task`."""
    patience: float = 0.15
    """Commanding clients that are silent for this long are lost [s]."""

    @staticmethod
    def of(config: Config) -> PersonDuties:
        """By the settings."""
        robot = config.robot
        return PersonDuties(robot.reset == "teleop", robot.setup == "person", config.gate.teleop_patience)


NOBODY = PersonDuties()


def _bench_of(announcement: Announcement) -> tuple[Any, ...]:
    """What a person has to set up for an episode: where the box stands, and which port is live."""
    task = announcement.task
    return task.box_position, task.box_yaw, task.ports, task.live_in(announcement.key.episode)


class PersonError(RuntimeError):
    """What a person asked for cannot be done now; its text is one clear sentence."""


class Host:
    """What both modes share: announcements, resets by the robot or by a person, reports.

    Methods that return True ask the caller to publish `step`; `report` may have changed after any call.
    """

    def __init__(
        self,
        robot: BenchRobot,
        gate: MotionGate,
        person: PersonDuties = NOBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._robot, self._gate, self._person, self._clock = robot, gate, person, clock
        self._announced: Announcement | None = None
        self._prepared: EpisodeKey | None = None
        self._reset_key: EpisodeKey | None = None
        self._reset_stamp = 0
        self._wanted = False
        self._awaited = ""
        self._set_up: Any = None
        self._seen = False
        self._heard = clock()
        self.step: Step | None = None
        self.steps = 0
        """Commands that used up a control period, since the start."""

    @property
    def report(self) -> GateReport:
        """What `gate_state` says now."""
        key = self._announced.key if self._announced else None
        stamp = self._reset_stamp if key is not None and key == self._reset_key else 0
        parts = tuple(part for part in STEP_PARTS if part != "truth" or self.step is None or self.step.truth)
        return GateReport(self._gate.state, self._gate.reason, key, stamp, parts, self.waits_for)

    @property
    def waits_for(self) -> str:
        """What a person must do before it goes on; "" where nobody is waited for."""
        if not self._awaited or self._announced is None:
            return ""
        key, task = self._announced.key, self._announced.task
        where = f"trial {key.trial + 1}, episode {key.episode + 1}"
        if self._awaited == "next_task":
            x, y, _ = task.box_position
            bench = f"box at x {1000 * x:.0f}, y {1000 * y:.0f} mm, turned by {task.box_yaw:.2f} rad"
            port = f"the cable in port {task.live_in(key.episode) + 1} of {len(task.ports)}"
            return f"a person to set up task '{task.id}': {bench}, {port} ({where}): next_task"
        return f"a person to bring the arm to its start pose ({where}): reset_done"

    def announce(self, announcement: Announcement) -> None:
        """Take note of the next episode. The one before it is over: the arm holds until the reset."""
        if self._announced and announcement.key == self._announced.key:
            return
        self._announced, self._awaited = announcement, ""
        self._gate.hold("waiting for the reset of the announced episode")

    def request_reset(self) -> str:
        """Ask for the reset of the announced episode; `run_reset` does it. Returns why it is refused, or ''."""
        if self._announced is None:
            return "no task was announced"
        if self._gate.state is GateState.STOPPED:
            return f"the arm is STOPPED ({self._gate.reason}); call clear_stop first"
        if self._gate.state is GateState.TELEOP and not self._awaited and not self._episode_runs:
            return "a person moves the arm; reset_done gives it back"
        if self._announced.key == self._reset_key and not self._episode_runs:
            return f"this episode was reset already and ended in {self._gate.state.value}: {self._gate.reason}"
        self._wanted = not self._awaited
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
        if key == self._reset_key:
            return self._publishes()
        if not key.same_trial(self._prepared):
            self._robot.set_task(self._announced.task)
            self._prepared = key
        if self._person.sets_up and self._set_up != _bench_of(self._announced):
            self._awaited = "next_task"
            self._gate.hold("waiting for a person to set up the task")
            return False
        return self._go_to_start()

    def _go_to_start(self) -> bool:
        if not self._person.resets:
            self._gate.reset(self._opens)
            return self._begin_episode()
        self._awaited = "reset_done"
        return self._give_to_person("waiting for a person to bring the arm to its start pose")

    @property
    def _opens(self) -> GateState:
        by_person = self._announced is not None and self._announced.by == "person"
        return GateState.TELEOP if by_person else GateState.POLICY

    def _begin_episode(self) -> bool:
        assert self._announced is not None
        self._reset_key, self._awaited = self._announced.key, ""
        self._see()
        assert self.step is not None
        self._reset_stamp = self.step.state.stamp
        return self._publishes()

    def _give_to_person(self, reason: str) -> bool:
        self._gate.open(GateState.TELEOP, reason)
        self._see()
        return self._publishes()

    def start_reset(self) -> bool:
        """A person takes the arm where it is.

        This and the person's other requests return whether `step` is to be published.

        Raises:
            PersonError: where that cannot be now, in a sentence.
            RuntimeError: where the robot cannot; the arm holds.
        """
        self._refuse_unless_free()
        return self._give_to_person("a person moves the arm")

    def go_home(self) -> bool:
        """The robot itself brings the arm to its start pose; the person goes on from there. Raises as `start_reset`."""
        self._refuse_unless_free()
        if self._prepared is None:
            raise PersonError("no task was announced: there is no start pose")
        self._gate.reset(GateState.TELEOP)
        return self._give_to_person("a person moves the arm")

    def park(self) -> bool:
        """Bring the arm to its rest pose and hold there. Raises as `start_reset`."""
        self._refuse_unless_free()
        self._gate.park()
        self._see()
        return self._publishes()

    def next_task(self) -> bool:
        """The person has set the bench up for the announced task. Raises as `start_reset`."""
        if self._awaited != "next_task":
            raise PersonError("nobody waits for a task to be set up")
        self._refuse_where_stopped()
        assert self._announced is not None
        self._set_up = _bench_of(self._announced)
        return self._go_to_start()

    def reset_done(self) -> bool:
        """The person has brought the arm to its start pose: the episode begins. Raises as `start_reset`."""
        if self._awaited == "next_task":
            raise PersonError("the task must be set up first: next_task")
        self._refuse_where_stopped()
        if not self._awaited:
            if self._gate.state is not GateState.TELEOP:
                raise PersonError("nobody waits for a reset")
            self._gate.hold("the person is done")
            return False
        self._gate.open(self._opens, episode=True)
        return self._begin_episode()

    def _refuse_where_stopped(self) -> None:
        if self._gate.state is GateState.STOPPED:
            raise PersonError(f"the arm is STOPPED ({self._gate.reason}); call clear_stop first")

    def _refuse_unless_free(self) -> None:
        self._refuse_where_stopped()
        if self._gate.state is GateState.RESET or self._episode_runs:
            raise PersonError(f"the arm is in {self._gate.state.value}, an episode is under way; call stop first")

    @property
    def _episode_runs(self) -> bool:
        key = self._announced.key if self._announced else None
        return key is not None and key == self._reset_key and self._gate.state is self._opens

    def _look(self, executed: np.ndarray | None, stamp: int) -> Step:
        return Step(*self._robot.look(), executed, stamp)

    def _see(self) -> None:
        try:
            self.step, self._seen = self._look(None, 0), True
        except RuntimeError as error:
            self._gate.hold(f"the arm cannot be seen: {error}")
            raise

    def _publishes(self) -> bool:
        return True

    def let_go(self, sender: str, reason: str = "") -> None:
        """The person's client with this id (or its beginning) commands no more, for now: the arm is held.

        With a reason it has lost its person: HOLD, until a person takes the arm again.
        """
        if self._gate.state is not GateState.TELEOP or not (self._gate.owner or sender).startswith(sender):
            return
        if reason:
            self._gate.hold(f"{reason}; start_reset takes the arm again")
        else:
            self._gate.let_go()

    def watch_person(self) -> None:
        """Hold until a person takes the arm again, where the client that commands it fell silent."""
        owned = self._gate.state is GateState.TELEOP and self._gate.owner is not None
        if owned and self._clock() - self._heard > self._person.patience:
            self._gate.hold("the person's client was lost; start_reset takes the arm again")

    def _hears(self, sender: str) -> None:
        if self._gate.owner in (None, sender):
            self._heard = self._clock()

    def policy_lost(self) -> None:
        """The lease of the policy ended."""
        if self._gate.state is GateState.POLICY:
            self._gate.policy_lost()

    def policy_back(self) -> bool:
        """The lease goes on after a gap. In lockstep time stood still meanwhile: the episode goes on where it was."""
        return self._gate.policy_back() and self._publishes()
