"""Driver: one control tick, observation → belief → action, and the recording of trials. It never touches a robot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from meld_core.config import Config
from meld_core.schedule import TrialPlan
from meld_core.scripted_search import ScriptedSearch
from meld_core.storage.ledger import Event
from meld_core.trial import RowFlags, TrialClock
from meld_core.types import ROW_FIELDS, Observation, Reward, Source, Trial, TrialId, TrialMeta


class TrialSink(Protocol):
    """Where closed episodes go: fsynced before anything else happens (`spool.Spool`)."""

    def add_episode(
        self, meta: TrialMeta, episode: int, rows: Mapping[str, np.ndarray], extras: Mapping[str, np.ndarray]
    ) -> None:
        """Keep one closed episode."""

    def close_trial(self, meta: TrialMeta) -> Trial | None:
        """Join the trial's closed episodes; None where there are none."""

    def note(self, event: Event, **facts: Any) -> None:
        """Write down what the trial itself does not hold."""


class Acting(Protocol):
    """Who chooses actions on what it observes: our agent, or a rival that it is compared with."""

    weights_version: int
    """-1 where it acts without weights of ours."""
    weights_digest: str

    def begin_trial(self, seed: int, greedy: bool) -> None:
        """A new trial, with the seed of its noise: forget everything. Greedy: nothing is drawn at random."""

    def forget(self) -> None:
        """Forget what this trial has shown so far."""

    def observe(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> None:
        """Take in one row on arrival at o_t: see `Agent.observe`."""

    def act(self, greedy: bool) -> np.ndarray:
        """(A,) float32 in [-1, 1] for the newest row."""


class Label(Protocol):
    """What is to be known of weights to say which ones acted; all weights have it."""

    @property
    def version(self) -> int:
        """Within the run."""

    @property
    def trained_through_trial(self) -> int:
        """Last trial that they were trained on."""

    @property
    def run(self) -> str:
        """The run that they are of."""

    @property
    def digest(self) -> str:
        """sha256 of what they are."""


class LoadsWeights(Acting, Protocol):
    """Acts, and can be given other weights between trials."""

    def load(self, weights: Any) -> None:
        """Swap weights; forgets the belief."""


class Driver:
    """Runs trials for whoever brings observations.

    Call `begin_trial`, then `tick` for every observation; after a tick that returns None reset the arm and go on
    ticking, until `trial_over`.
    """

    def __init__(self, config: Config, agent: Acting, sink: TrialSink, *, run: str, boot: str) -> None:
        self._config, self._agent, self._sink = config, agent, sink
        self._run, self._boot = run, boot
        self._clock = TrialClock(config.task)
        self._plan: TrialPlan | None = None
        self._meta: TrialMeta | None = None
        self._rows = RowRecorder()
        self.trial_over = True
        self.last_trial: Trial | None = None
        self.clear_belief = False
        """Control: forget the belief between episodes."""
        self.doubted = 0
        """Successes that were not believed."""

    @property
    def episode(self) -> int:
        """Index of the episode that the next observation belongs to."""
        return self._clock.episode

    def begin_trial(self, plan: TrialPlan) -> None:
        """Start a trial: a fresh belief, a fresh record."""
        self._plan = plan
        self._meta = self._describe(plan)
        self._clock.begin_trial()
        self._rows = RowRecorder()
        self._script = ScriptedSearch(plan.task, self._config)
        self._noise = np.random.default_rng([plan.seed, int(plan.source)])
        self._script_noise = self._noise.uniform(0.0, self._config.train.script_noise)
        self._agent.begin_trial(plan.seed, plan.greedy)
        self.trial_over, self.last_trial = False, None

    def _describe(self, plan: TrialPlan) -> TrialMeta:
        acts = plan.source is Source.POLICY
        return TrialMeta(
            id=TrialId(self._config.robot.name, self._run, self._boot, plan.index),
            task=plan.task.to_json(),
            weights_version=self._agent.weights_version if acts else -1,
            weights_digest=self._agent.weights_digest if acts else "",
            simulated=self._config.robot.kind == "mujoco",
        )

    def tick(
        self, observation: Observation, executed: np.ndarray | None, extras: Mapping[str, float] | None = None
    ) -> np.ndarray | None:
        """One control step.

        Args:
            observation: What is known on arrival at o_t.
            executed: The action that the gate let through after the previous tick, (A,) float32 in [-1, 1]; None at
                an episode's first observation.
            extras: Columns recorded beside the row as they are; never looked at.

        Returns:
            The next action (A,) float32 in [-1, 1] (zeros where a person gives it), or None where this observation
            ended the episode.

        Raises:
            RuntimeError: when no trial is under way, or `executed` is missing or superfluous.
        """
        if self.trial_over or self._plan is None:
            raise RuntimeError("no trial is under way; call begin_trial")
        observation = self._believable(observation)
        flags = self._clock.row(success=observation.reward.valid and observation.reward.success)
        if (executed is None) != flags.first_in_episode:
            raise RuntimeError(f"executed action is {executed} at step {flags.step} of an episode")
        observation = _with_first_reward(observation, flags)
        previous = np.zeros(3, np.float32) if executed is None else executed
        if executed is not None:
            self._rows.executed(executed, meant=self._plan.source is Source.HUMAN)
        action = self._choose(self._plan, observation, flags, previous)
        self._rows.add(observation, flags, self._plan.source, self._intended, extras or {})
        if flags.last_in_episode:
            self._close_episode(flags)
            return None
        return action

    def _believable(self, observation: Observation) -> Observation:
        """A success reported from where no plug can be seated is no judgement at all: masked, and noted for a person.

        Nothing is known then, so that neither a reward nor a missing one is invented.
        """
        reward, height = observation.reward, float(observation.state.tool_position[2]) - self._config.task.box_center[2]
        if not (reward.valid and reward.success) or height <= self._config.reward.max_height:
            return observation
        assert self._meta is not None
        self.doubted += 1
        where = {"trial": str(self._meta.id), "episode": self.episode, "step": len(self._rows)}
        reason = f"success reported with the tool {1000 * height:.0f} mm above the box's face"
        self._sink.note("doubted", **where, stamp=observation.stamp, reason=reason)
        return dataclasses.replace(observation, reward=Reward.missing())

    def _choose(self, plan: TrialPlan, observation: Observation, flags: RowFlags, previous: np.ndarray) -> np.ndarray:
        if plan.source is Source.POLICY:
            if self.clear_belief and flags.first_in_episode:
                self._agent.forget()
            self._agent.observe(observation, flags, previous)
        if flags.last_in_episode:
            self._intended = np.zeros(3, np.float32)
            return self._intended
        if plan.source is Source.POLICY:
            self._intended = action = self._agent.act(plan.greedy)
        elif plan.source is Source.SCRIPT:
            if flags.first_in_episode:
                self._script.begin_episode()
            paid = observation.reward.valid and observation.reward.success
            self._intended = self._script.act(observation.state.tool_position, paid)
            noise = self._noise.normal(0.0, self._script_noise, 3)
            action = np.clip(self._intended + noise, -1.0, 1.0).astype(np.float32)
        elif plan.source is Source.HUMAN:
            self._intended = action = np.zeros(3, np.float32)  # until it is known
        else:
            self._intended = action = self._noise.uniform(-1.0, 1.0, 3).astype(np.float32)
        return action

    def _close_episode(self, flags: RowFlags) -> None:
        assert self._meta is not None
        rows, extras = self._rows.take()
        self._sink.add_episode(self._meta, flags.episode, rows, extras)
        if flags.last_in_trial:
            self._finish(self._meta)

    def _finish(self, meta: TrialMeta) -> None:
        self.last_trial = self._sink.close_trial(meta)
        self.trial_over = True

    def abort(self, reason: str) -> int:
        """End the trial now: closed episodes are kept, the open one is dropped. Returns the steps that were dropped."""
        if self.trial_over or self._meta is None:
            return 0
        dropped = max(0, len(self._rows) - 1)
        if dropped:
            where = {"trial": str(self._meta.id), "episode": self.episode}
            self._sink.note("dropped", **where, steps=dropped, reason=reason)
        self._finish(dataclasses.replace(self._meta, aborted=reason))
        return dropped


def _with_first_reward(observation: Observation, flags: RowFlags) -> Observation:
    """The reward at an episode's first observation is 0 by definition: no action led to it."""
    if not flags.first_in_episode:
        return observation
    nothing_yet = Reward(reward=0.0, success=False, probability=0.0)
    return Observation(observation.image, observation.state, nothing_yet, observation.stamp)


class RowRecorder:
    """Rows of the open episode."""

    def __init__(self) -> None:
        self._columns: dict[str, list[object]] = {name: [] for name in ROW_FIELDS}
        self._extras: list[Mapping[str, float]] = []

    def __len__(self) -> int:
        return len(self._extras)

    def executed(self, action: np.ndarray, meant: bool = False) -> None:
        """The action of the newest row is known only once the gate let it through; a person `meant` just that."""
        self._columns["action"][-1] = action
        if meant:
            self._columns["intended_action"][-1] = action

    def add(
        self,
        observation: Observation,
        flags: RowFlags,
        source: Source,
        intended: np.ndarray,
        extras: Mapping[str, float],
    ) -> None:
        """Append row t; its action is zero until `executed` says otherwise."""
        state, reward = observation.state, observation.reward
        row: dict[str, object] = {
            "image": observation.image,
            "joints": state.joints,
            "velocities": state.velocities,
            "tool_position": state.tool_position,
            "tool_orientation": state.tool_orientation,
            "reward": reward.reward if reward.valid else float("nan"),
            "reward_valid": reward.valid,
            "success": reward.valid and reward.success,
            "probability": reward.probability if reward.valid else float("nan"),
            "action": np.zeros(3, np.float32),
            "intended_action": intended,
            "source": int(source),
            "valid": True,
            "first_in_trial": flags.first_in_trial,
            "first_in_episode": flags.first_in_episode,
            "terminal": flags.terminal,
            "truncated": flags.truncated,
            "episode": flags.episode,
            "step": flags.step,
            "stamp": observation.stamp,
        }
        for name, value in row.items():
            self._columns[name].append(value)
        self._extras.append(extras)

    def take(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The episode's rows and extra columns as arrays; the recorder is empty afterwards."""
        rows = {name: np.asarray(self._columns[name], dtype=dtype) for name, (dtype, _) in ROW_FIELDS.items()}
        names = self._extras[0].keys() if self._extras else ()
        extras = {name: np.asarray([e[name] for e in self._extras], dtype=np.float32) for name in names}
        self._columns = {name: [] for name in ROW_FIELDS}
        self._extras = []
        return rows, extras
