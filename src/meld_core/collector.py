"""Collector: runs the schedule's trials over a link to a robot elsewhere. It knows nothing of ROS.

    announce the episode → its echo (and the weights it needs) → request the reset → the gate opens →
    every whole step: driver.tick → command → ... → tick returns None → announce the next episode

Whatever gets no answer within `gate.step_timeout` is said again; the other side is idempotent.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.config import Config
from meld_core.driver import Driver, Label, LoadsWeights, TrialSink
from meld_core.joiner import StepJoiner
from meld_core.link import Link, PersonCommands, Phase
from meld_core.robot import GateState
from meld_core.schedule import TrialPlan
from meld_core.types import Observation, Reward, RobotState, Source, Trial

_WEIGHTS_KEPT = 8
_REWARD_PATIENCE = 1.4
"""Realtime goes on without a judgement after this many control periods; the arm may hold meanwhile."""
_NOT_OURS = {"detector_image"}
_OBSERVATION = {"joint_states", "tool_pose", "image", "reward"}
_REPEAT_MARK = "joint_states"
"""A second message of this part says that the host published the whole step again."""


class Collector:
    """One trial after the other, each with exactly the weights that its plan asks for.

    Args:
        config: Of the run.
        agent: Acts; weights are swapped between trials only.
        sink: Takes closed episodes.
        link: To the robot's side.
        plans: Trial by index; None ends the collection.
        run: Name of the run.
        first: Index of the first trial.
        on_trial: Called with each trial that was closed, aborted ones included.
        boot: UUID (hex) of this process; another one is drawn after an aborted trial.
        clock: Steady seconds.
        room: Why no episode may begin for want of room on the disk; "" where it may.
    """

    def __init__(
        self,
        config: Config,
        agent: LoadsWeights,
        sink: TrialSink,
        link: Link,
        plans: Callable[[int], TrialPlan | None],
        *,
        run: str,
        first: int = 0,
        on_trial: Callable[[Trial], None] | None = None,
        boot: str = "",
        clock: Callable[[], float] = time.monotonic,
        room: Callable[[], str] = lambda: "",
    ) -> None:
        self._config, self._agent, self._sink, self._link, self._plans = config, agent, sink, link, plans
        self._run, self._on_trial, self._clock, self._room = run, on_trial, clock, room
        self._kept_weights = max(_WEIGHTS_KEPT, config.train.lead // config.learner.update_every + 3)
        self._realtime = config.robot.mode == "realtime"
        self._boot = boot or uuid.uuid4().hex
        self._driver = self._new_driver()
        self._joiner = StepJoiner()
        self._weights: dict[int, Label] = {}
        self._report: GateReport | None = None
        self._executed: dict[int, np.ndarray] = {}
        self._answer: tuple[int, np.ndarray] | None = None
        self._person, self._by_person = PersonCommands(), False
        self._heard = clock()
        self.index = first
        """Index of the trial under way."""
        self.phase = Phase.FINISHED
        self.aborted: list[str] = []
        """Reasons of aborted trials."""
        self.unjudged = 0
        """Realtime: steps that the reward detector said nothing of."""
        self.dropped = 0
        """Steps of episodes that were broken off."""
        self.paused = ""
        """Why no episode begins although everybody is ready."""
        self.steps = 0
        """Commands that were carried out."""
        self.acts_through = -1
        """Trial after which the acting weights were published; -1 without any."""

    def _new_driver(self) -> Driver:
        return Driver(self._config, self._agent, self._sink, run=self._run, boot=self._boot)

    def start(self) -> None:
        """Announce the first trial."""
        self._begin_trial()

    def _begin_trial(self) -> None:
        plan = self._plans(self.index)
        if plan is None:
            self.phase = Phase.FINISHED
        else:
            self._plan, self._by_person = plan, plan.source is Source.HUMAN
            self._announce(0)

    def _announce(self, episode: int) -> None:
        self._key = EpisodeKey(self._run, self._boot, self._plan.index, episode)
        self._executed, self._answer = {}, None
        self._person = PersonCommands()
        self._joiner.forget_all()
        self.phase = Phase.ANNOUNCED
        self._say()

    def _say(self) -> None:
        self._heard = self._clock()
        self._link.announce(Announcement(self._key, self._plan.task, "person" if self._by_person else "policy"))
        if self.phase is Phase.RESETTING:
            self._link.request_reset()

    def on_weights(self, weights: Label) -> None:
        """New weights, which were checked to fit; kept until a trial needs them."""
        self._weights[weights.trained_through_trial] = weights
        for old in sorted(self._weights)[: -self._kept_weights]:
            del self._weights[old]
        self._proceed()

    def on_report(self, report: GateReport) -> None:
        """The robot's side says what its gate does."""
        self._report = report
        self._proceed()

    def on_executed(self, stamp: int, action: np.ndarray) -> None:
        """What the gate made of the command for `stamp`, (A,) float32."""
        if self._by_person:
            self._person.add(stamp, action)
            self._proceed()
        elif self._answer is not None and stamp == self._answer[0]:
            self._executed = {stamp: action}
            self._proceed()

    def on_part(self, part: str, stamp: int, value: Any) -> None:
        """One message of a step.

        Args:
            part: `joint_states` (joints, velocities), `tool_pose` (position, orientation), `image` (pixels), `reward`
                (Reward), or the name of another part of the report: a mapping that is recorded unseen.
            stamp: Of the step [ns].
            value: The part.
        """
        if self._joiner.add(part, stamp, value):
            self._proceed()
        elif self._answer is not None and part == _REPEAT_MARK and stamp == self._answer[0] and not self._by_person:
            self._link.command(self._answer[1], stamp)

    def poll(self) -> None:
        """Call a few times a second: says again what got no answer, aborts a trial that cannot go on."""
        silence = self._clock() - self._heard
        gate = self._config.gate
        if self.paused:
            self._proceed()
            return
        if self.phase is Phase.RUNNING:
            if self._held() and silence > gate.step_timeout:
                assert self._report is not None
                self.abort(f"the arm went to {self._report.state.value}: {self._report.reason}")
            elif silence > (gate.step_retries + 2) * gate.step_timeout and not self._by_person:
                self.abort("no step came from the robot")
        elif self._waits_for_robot() and silence > gate.step_timeout:
            self._say()

    def _waits_for_robot(self) -> bool:
        if self.phase is Phase.NEEDS_WEIGHTS:
            return self._report is None or self._report.key != self._key
        return self.phase in (Phase.ANNOUNCED, Phase.RESETTING)

    def _held(self) -> bool:
        return self._report is not None and self._report.state is not self._opens

    @property
    def _opens(self) -> GateState:  # who may command in this trial
        return GateState.TELEOP if self._by_person else GateState.POLICY

    def _proceed(self) -> None:
        report = self._report
        if report is None or report.key != self._key_or_none():
            if self.phase is Phase.RUNNING and report is not None:
                self.abort("the robot's side started afresh or follows another policy")
            return
        if self.phase in (Phase.ANNOUNCED, Phase.NEEDS_WEIGHTS):
            self._reset_when_ready()
        if self.phase is Phase.RESETTING and report.state is self._opens and report.reset_stamp > 0:
            self.phase = Phase.RUNNING
            self._heard = self._clock()
        while self.phase is Phase.RUNNING and self._take_step(report):
            pass

    def _key_or_none(self) -> EpisodeKey | None:
        return None if self.phase is Phase.FINISHED else self._key

    def _reset_when_ready(self) -> None:
        self._heard = self._clock()
        self.paused = self._room()
        if self.paused:
            return
        if self._key.episode == 0:
            if not self._load_weights():
                self.phase = Phase.NEEDS_WEIGHTS
                return
            self._driver.begin_trial(self._plan)
        self.phase = Phase.RESETTING
        self._link.request_reset()

    def _load_weights(self) -> bool:
        """Load what the plan asks for (in realtime the newest there is); False while it is not there."""
        through = self._plan.needs_weights_through
        if through is None:
            return True
        newest = max(self._weights, default=None)
        weights = self._weights.get(newest if self._realtime and newest is not None else through)
        if weights is None:
            return False
        if weights.version != self._agent.weights_version:
            self._agent.load(weights)
        self.acts_through = weights.trained_through_trial
        return True

    def _take_step(self, report: GateReport) -> bool:
        if self._answer is not None and self._answer[0] not in self._executed and not self._person_gave():
            return False
        parts, since = (set(report.parts) - _NOT_OURS) | {"reward"}, max(report.reset_stamp, self._person.since)
        newest = self._realtime and not self._by_person
        step = self._joiner.take(parts, since, newest) or self._unjudged(parts, since)
        if step is None:
            return False
        self._heard = self._clock()
        self._tick(*step)
        return True

    def _person_gave(self) -> bool:
        """Whether a person's command answers the newest row."""
        assert self._answer is not None
        action = self._person.after(self._answer[0])
        if action is None:
            return False
        self._executed, self._heard = {self._answer[0]: action}, self._clock()
        return True

    def _unjudged(self, parts: set[str], since: int) -> tuple[int, dict[str, Any]] | None:
        """Realtime: a step whose reward is missing, once the detector has been silent for too long."""
        patience = (4.0 if self._by_person else _REWARD_PATIENCE) * self._config.robot.control_period
        overdue = self._realtime and self._clock() - self._heard > patience
        step = self._joiner.take(parts - {"reward"}, since, newest=True) if overdue else None
        if step is not None:
            step[1]["reward"] = Reward.missing()
            self.unjudged += 1
        return step

    def _tick(self, stamp: int, parts: dict[str, Any]) -> None:
        executed = None if self._answer is None else self._executed[self._answer[0]]
        (joints, velocities), (position, orientation) = parts["joint_states"], parts["tool_pose"]
        state = RobotState(joints, velocities, position, orientation, stamp)
        observation = Observation(parts["image"], state, parts["reward"], stamp)
        extras = {k: v for name in parts.keys() - _OBSERVATION - _NOT_OURS for k, v in parts[name].items()}
        self.steps += int(executed is not None)
        action = self._driver.tick(observation, executed, extras)
        if action is not None:
            self._answer = (stamp, action)
            if not self._by_person:
                self._link.command(action, stamp)
        elif self._driver.trial_over:
            self._end_trial()
            self.index += 1
            self._begin_trial()
        else:
            self._announce(self._driver.episode)

    def abort(self, reason: str) -> None:
        """Keep the closed episodes and begin the same trial again, as another boot: ids are never used twice."""
        self.aborted.append(reason)
        self.dropped += self._driver.abort(reason)
        self._end_trial()
        self._boot = uuid.uuid4().hex
        self._driver = self._new_driver()
        self._begin_trial()

    def _end_trial(self) -> None:
        if self._on_trial is not None and self._driver.last_trial is not None:
            self._on_trial(self._driver.last_trial)
