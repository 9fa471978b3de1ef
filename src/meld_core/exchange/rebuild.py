"""Rebuilder: a recorded trial through the very objects that ran it: collector, joiner, driver.

Who acts is either the recording itself (`RecordedAgent`: what was commanded is what acts, so that the trial comes out
byte for byte) or an agent that is asked again (`compare.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from meld_core.announce import Announcement, EpisodeKey
from meld_core.collector import Collector
from meld_core.config import Config
from meld_core.driver import Label, LoadsWeights
from meld_core.exchange.recorded import RecordedTrial, Recording, Segment
from meld_core.exchange.steps import IncompleteError, RecordedStep, Steps
from meld_core.link import Phase
from meld_core.schedule import Schedule, TrialPlan
from meld_core.storage.memory_sink import MemorySink
from meld_core.storage.spool import CRASHED
from meld_core.trial import RowFlags
from meld_core.types import Observation, Source, Trial, TrialId

_LONG = 1e6
"""Longer than any patience [s]."""


class RecordedAgent:
    """Acts as it was recorded."""

    def __init__(self) -> None:
        self.weights_version, self.weights_digest = -1, ""
        self.actions: Mapping[int, np.ndarray] = {}
        """Commands of the trial by the stamp of their observation."""
        self._stamp = 0

    def load(self, weights: Label) -> None:
        """Take on the name of weights."""
        self.weights_version, self.weights_digest = weights.version, weights.digest

    def begin_trial(self, seed: int, greedy: bool) -> None:
        """Nothing is remembered anyway."""

    def forget(self) -> None:
        """As above."""

    def observe(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> None:
        """Look at the clock."""
        self._stamp = observation.stamp

    def act(self, greedy: bool) -> np.ndarray:
        """What was commanded at the newest observation. Raises IncompleteError where nothing was."""
        if self._stamp not in self.actions:
            raise IncompleteError("the trial goes on after its last command: recorded with other settings?")
        return self.actions[self._stamp]


@dataclasses.dataclass(frozen=True)
class Named:
    """A label that stands for weights."""

    version: int
    trained_through_trial: int
    run: str
    digest: str


OnAction = Callable[[int, np.ndarray, np.ndarray], None]
"""Told of every command: the episode, what was computed now, what was recorded."""


class Rebuilder:
    """Rebuilds one recorded trial after the other.

    Args:
        config: Of the run that was recorded.
        agent: Who acts.
        recording: Where the trials come from; it knows weights and events.
        on_action: Told of every command. By default a command that differs from the recorded one ends the trial.
        evaluated: Weights that act in trials of an evaluation, which says nothing of its weights.
        always: They act in every trial, whatever acted then.
    """

    def __init__(
        self, config: Config, agent: LoadsWeights, recording: Recording, on_action: OnAction | None = None,
        evaluated: Label | None = None, *, always: bool = False,
    ) -> None:  # fmt: skip
        self._config, self._agent, self._recording = config, agent, recording
        self._on_action = on_action or _same
        self._evaluated, self._always = evaluated, always
        self._schedule = Schedule(config)
        self._steps = Steps(config)
        self._now = 0.0
        self._announced: EpisodeKey | None = None
        self._commanded: list[np.ndarray] = []

    def rebuild(self, recorded: RecordedTrial) -> Trial | None:
        """The trial; None where no episode of it was closed.

        Raises:
            IncompleteError: where the recording does not hold all of it, or holds it under other settings.
        """
        key, first = recorded.key, recorded.segments[0]
        trial_id = TrialId(self._config.robot.name, key.run, key.boot, key.trial)
        rows, aborted = self._recording.closed.get(str(trial_id), (0, ""))
        plan = self._plan(first)
        if [s.key.episode for s in recorded.segments] != list(range(len(recorded.segments))):
            raise IncompleteError(f"its recording begins with episode {key.episode}")
        finished: list[Trial] = []
        collector = self._collector(plan, key, finished)
        self._give_weights(collector, plan, first)
        if isinstance(self._agent, RecordedAgent):
            self._agent.actions = {stamp: action for s in recorded.segments for stamp, (_, action) in s.actions.items()}
        collector.start()
        broken_off = bool(aborted) or (not rows and recorded.broken_off)
        for number, segment in enumerate(recorded.segments):
            last = number == len(recorded.segments) - 1
            try:
                self._play(collector, segment, recorded.after(number), open_end=last and broken_off)
            except IncompleteError as error:
                if last and recorded.following is None and not rows:
                    known = str(error).partition(": recorded with other settings?")[0]
                    raise IncompleteError(f"the recording ends before the trial does ({known})") from None
                raise
        if collector.phase is not Phase.FINISHED:
            if not broken_off:
                raise IncompleteError("the recording ends before the trial does")
            collector.abort(aborted or CRASHED)
        trial = finished[0] if finished else None
        if rows and (trial is None or len(trial) != rows):
            raise IncompleteError(f"it has {len(trial) if trial else 0} rows, the policy closed it with {rows}")
        return trial

    def _plan(self, first: Segment) -> TrialPlan:
        """What was decided about the trial before it began."""
        task, index = first.task, first.key.trial
        if task.split != "train":
            return TrialPlan(index, task, Source.POLICY, None, task.seed, self._config.eval.greedy)
        plan = self._schedule.plan(index) if index < self._schedule.trials else None
        if plan is None or plan.task != task:
            raise IncompleteError(f"these settings plan another task for trial {index} than was recorded")
        return plan

    def _collector(self, plan: TrialPlan, key: EpisodeKey, finished: list[Trial]) -> Collector:
        def plan_of(index: int) -> TrialPlan | None:
            return plan if index == plan.index and not finished else None

        return Collector(
            self._config, self._agent, MemorySink(), self, plan_of,
            run=key.run, first=plan.index, on_trial=finished.append, boot=key.boot, clock=lambda: self._now,
        )  # fmt: skip

    def _give_weights(self, collector: Collector, plan: TrialPlan, first: Segment) -> None:
        """Those that were there: in lockstep up to the ones that the plan asks for, else up to the announcement."""
        if plan.source is not Source.POLICY:
            return
        if plan.needs_weights_through is None:
            if self._evaluated is None:
                raise IncompleteError("it belongs to an evaluation, which does not say what acted; give --weights FILE")
            self._agent.load(self._evaluated)
            return
        through = plan.needs_weights_through
        if self._always and self._evaluated is not None:
            given = self._evaluated
            collector.on_weights(Named(given.version, through, first.key.run, given.digest))
            return
        for time, weights in self._recording.weights:
            early = time <= first.echoed if self._realtime else weights.trained_through_trial <= through
            if weights.run == first.key.run and early:
                collector.on_weights(weights)

    @property
    def _realtime(self) -> bool:
        return self._config.robot.mode == "realtime"

    def _play(self, collector: Collector, segment: Segment, after: Segment | None, *, open_end: bool) -> None:
        """One episode. With an open end it may break off anywhere."""
        try:
            if self._announced != segment.key:
                raise IncompleteError(f"episode {segment.key.episode} came where the trial was over by these settings")
            self._open(collector, segment)
            for step in self._steps.of(segment, after):
                self._feed(collector, segment, step)
        except IncompleteError:
            if not open_end:
                raise

    def _open(self, collector: Collector, segment: Segment) -> None:
        if segment.opening is None:
            raise IncompleteError(f"the reset of episode {segment.key.episode} is not in the recording")
        late = not segment.echoed if self._realtime else segment.opening.reset_stamp not in segment.parts
        if late:
            raise IncompleteError(f"the recording began after episode {segment.key.episode} did")
        collector.on_report(segment.opening)
        if collector.phase is Phase.NEEDS_WEIGHTS:
            raise IncompleteError("the weights that acted are not in the recording")

    def _feed(self, collector: Collector, segment: Segment, step: RecordedStep) -> None:
        """Hand one step over as messages; its command must come back, unless it is the last, or a person's."""
        assert segment.opening is not None
        if not _runs(collector):
            raise IncompleteError(f"episode {segment.key.episode} goes on after its end: recorded with other settings?")
        self._commanded.clear()
        for name, value in step.parts.items():
            if value is not None:
                collector.on_part(name, step.stamp, value)
        if step.parts["reward"] is None:
            self._now += _LONG
            collector.on_report(segment.opening)
        if step.executed is None:
            if _runs(collector):
                raise IncompleteError(f"episode {segment.key.episode} ends early: recorded with other settings?")
            return
        if not _runs(collector):
            raise IncompleteError(f"episode {segment.key.episode} goes on after its end: recorded with other settings?")
        if step.action is not None:
            self._on_action(segment.key.episode, self._commanded[-1], step.action)
        collector.on_executed(*step.executed)

    def announce(self, announcement: Announcement) -> None:
        """Link: the episode that the collector wants."""
        self._announced = announcement.key

    def request_reset(self) -> None:
        """Link: it is recorded already."""

    def command(self, action: np.ndarray, stamp: int) -> None:
        """Link: what was computed now."""
        self._commanded.append(action)


def _runs(collector: Collector) -> bool:
    return collector.phase is Phase.RUNNING


def _same(episode: int, computed: np.ndarray, recorded: np.ndarray) -> None:
    if not np.array_equal(computed, recorded):
        raise IncompleteError(
            f"a command of episode {episode} is {recorded.tolist()}, the schedule of these settings gives "
            f"{computed.tolist()}: recorded with other settings?"
        )
