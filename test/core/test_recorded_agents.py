"""Recordings of a policy, a person and an evaluation: rebuilt, and compared with what an agent does again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lockstep_ring import SMALL

from meld_core.agent import Agent
from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.collector import Collector
from meld_core.config import Config, to_mapping
from meld_core.exchange.compare import Comparison
from meld_core.exchange.importer import Importer
from meld_core.exchange.recorded import Heard, Recording
from meld_core.robot import GateState
from meld_core.schedule import Schedule, TrialPlan, held_out_plans
from meld_core.storage.memory_sink import MemorySink
from meld_core.storage.trial_file import decode_trial, encode_trial
from meld_core.types import Reward, Trial
from meld_core.weights import Weights

from .tapped_ring import Tapped, rebuilt


@pytest.fixture(scope="module")
def acted() -> tuple[Config, Weights, Tapped]:
    """One scripted trial, then one by the policy, sampled, with fresh weights."""
    config = dataclasses.replace(
        SMALL, train=dataclasses.replace(SMALL.train, demonstrations=1, trials=2, lead=1), model=SMALL.model
    )
    weights = Weights(Agent(config)._nets.state_dict(), 0, 0, "ring", to_mapping(config))
    ring = Tapped(trials=0)
    schedule = Schedule(config)
    ring.collector._plans = lambda index: schedule.plan(index) if index < 2 else None
    ring.collector._config = config
    ring.collector._agent = Agent(config)
    ring.collector._driver = ring.collector._new_driver()
    ring.collector.on_weights(weights)
    ring.heard.append(Heard("weights", 0, 0, weights))
    ring.run()
    return config, weights, ring


def test_a_policy_trial_names_the_weights_that_acted(acted: tuple[Config, Weights, Tapped]) -> None:
    config, weights, ring = acted
    files, reasons = rebuilt(ring.heard, config)
    assert (files, reasons) == (ring.files(), [])
    assert decode_trial(files[1]).meta.weights_digest == weights.digest
    _, reasons = rebuilt([h for h in ring.heard if h.topic != "weights"], config)
    assert reasons == ["the weights that acted are not in the recording"]


def test_the_same_agent_does_the_same_again(acted: tuple[Config, Weights, Tapped]) -> None:
    config, weights, ring = acted
    for given_weights in (None, weights):
        results = list(Comparison(config, Recording(ring.heard), given_weights, 0.0).run())
        assert [(one.source, len(one.deviations), one.first) for one in results] == [
            ("script", 8, None),
            ("policy", 8, None),
        ]
        assert set(results[1].deviations) == {0.0}


def test_another_agent_is_noticed_at_its_first_step(acted: tuple[Config, Weights, Tapped]) -> None:
    config, weights, ring = acted
    moved = {name: tensor + 0.05 for name, tensor in weights.tensors.items()}
    other = dataclasses.replace(weights, tensors=moved, version=3)
    script, policy = list(Comparison(config, Recording(ring.heard), other, 0.0).run())
    assert (script.first, policy.first) == (None, (0, 0))
    assert 0.0 < max(policy.deviations) <= 2.0
    tolerant = list(Comparison(config, Recording(ring.heard), other, 2.0).run())
    assert tolerant[1].first is None


def test_one_changed_command_is_found(acted: tuple[Config, Weights, Tapped]) -> None:
    config, _, ring = acted
    at = [i for i, h in enumerate(ring.heard) if h.topic == "action"][8 + 5]
    changed = ring.heard[at].value.copy()
    changed[1] += np.float32(0.25)
    heard = [*ring.heard[:at], dataclasses.replace(ring.heard[at], value=changed), *ring.heard[at + 1 :]]
    _, policy = list(Comparison(config, Recording(heard), None, 0.0).run())
    assert policy.first == (1, 1)
    assert policy.to_json()["max_deviation"] == pytest.approx(0.25, abs=1e-6)
    assert policy.to_json()["mean_deviation"] == pytest.approx(0.25 / 8, abs=1e-6)
    assert sorted(policy.deviations)[-2] == 0.0


class Played:
    """A collector that is told messages by hand, and a recorder that hears them."""

    def __init__(self, config: Config, plans: Sequence[TrialPlan], agent: Agent | None = None) -> None:
        self.heard: list[Heard] = []
        self.trials: list[Trial] = []
        self.now = 0.0
        self.stamp = 0
        self.collector = Collector(
            config, agent or Agent(config), MemorySink(), self, dict(enumerate(plans)).get,
            run="ring", boot="b" * 32, on_trial=self.trials.append, clock=lambda: self.now,
        )  # fmt: skip
        self.collector.start()

    def announce(self, announcement: Announcement) -> None:
        self._hear("task", 0, announcement)

    def request_reset(self) -> None:
        """It is told by hand."""

    def command(self, action: np.ndarray, stamp: int) -> None:
        self._hear("action", stamp, action)
        self.answer = action

    def _hear(self, topic: str, stamp: int, value: Any) -> None:
        self.heard.append(Heard(topic, len(self.heard) + 1, stamp, value))

    def open(self, episode: int, state: GateState) -> GateReport:
        """The reset of an episode, from its echo to the open gate."""
        key, parts = EpisodeKey("ring", "b" * 32, 0, episode), ("joint_states", "tool_pose", "image")
        self.stamp += 1_000_000_000
        for report in (GateReport(GateState.HOLD, "", key, 0, parts), GateReport(state, "", key, self.stamp, parts)):
            self._hear("gate_state", 0, report)
            self.collector.on_report(report)
        return report

    def see(self, number: int, between: Callable[[], None] = lambda: None) -> None:
        """One observation, 250 ms after the one before; `between` happens before its reward."""
        pose = np.array([0.3, 0.0, 0.06 + 0.001 * number]), np.array([0.0, 0.0, 0.0, 1.0])
        self.stamp += 250_000_000 if self.heard[-1].topic != "gate_state" else 0
        self._say("image", np.full((32, 16, 3), number, np.uint8))
        self._say("joint_states", (np.full(6, 0.1 * number), np.zeros(6)))
        self._say("tool_pose", pose)
        between()
        self._say("reward", Reward(0.0, False, 0.0))

    def _say(self, topic: str, value: Any) -> None:
        self._hear(topic, self.stamp, value)
        self.collector.on_part(topic, self.stamp, value)

    def execute(self, action: np.ndarray) -> None:
        """What the gate let through for the newest observation."""
        self._hear("executed_action", self.stamp, action)
        self.collector.on_executed(self.stamp, action)


def by_person(mode: str) -> tuple[Config, list[Heard], list[Trial]]:
    """A person's trial of two episodes; in realtime the arm rests now and then."""
    train = dataclasses.replace(SMALL.train, demonstrations=1, trials=1, demonstrator="person")
    config = dataclasses.replace(SMALL, train=train, robot=dataclasses.replace(SMALL.robot, mode=mode))
    played = Played(config, [Schedule(config).plan(0)])
    rests = (0, 2, 0, 1) if mode == "realtime" else (0, 0, 0, 0)
    for episode in range(2):
        played.open(episode, GateState.TELEOP)
        for number in range(4):
            for _ in range(1 + rests[number]):
                played.see(number)
            played.execute(np.float32([0.1 * number, 0.0, -0.2]))
        played.see(4)
    return config, played.heard, played.trials


@pytest.mark.parametrize("mode", ["lockstep", "realtime"])
def test_a_persons_trial_comes_back_byte_for_byte(mode: str) -> None:
    config, heard, (stored,) = by_person(mode)
    assert stored.rows["action"][:4, 0].tolist() == np.float32([0.0, 0.1, 0.2, 0.3]).tolist()
    assert set(stored.rows["source"]) == {2}
    assert rebuilt(heard, config) == ([encode_trial(stored)], [])
    last = max(i for i, h in enumerate(heard) if h.topic == "executed_action")
    files, reasons = rebuilt([h for i, h in enumerate(heard) if i != last], config)
    assert files == []
    assert len(reasons) == 1


def realtime() -> tuple[Config, list[Heard], list[Trial]]:
    """Random actions of two episodes in realtime; the reward of row 2 comes after the policy had given up on it."""
    train = dataclasses.replace(SMALL.train, demonstrations=0, random_trials=1, trials=1)
    config = dataclasses.replace(SMALL, train=train, robot=dataclasses.replace(SMALL.robot, mode="realtime"))
    played = Played(config, [Schedule(config).plan(0)])
    for episode in range(2):
        report = played.open(episode, GateState.POLICY)

        def wait(report: GateReport = report) -> None:
            played.now += 1.0
            played.collector.on_report(report)

        for number in range(5):
            played.see(number, wait if number == 2 else lambda: None)
            if number < 4:
                played.execute(played.answer * np.float32(0.5))
    return config, played.heard, played.trials


def test_in_realtime_a_reward_that_came_too_late_is_missing_again() -> None:
    config, heard, (stored,) = realtime()
    assert stored.rows["reward_valid"].tolist() == [True, True, False, True, True] * 2
    assert rebuilt(heard, config) == ([encode_trial(stored)], [])


def test_trials_of_an_evaluation_need_to_be_told_their_weights(
    acted: tuple[Config, Weights, Tapped], tmp_path: Path
) -> None:
    config, weights, _ = acted
    agent = Agent(config)
    agent.load(weights)
    played = Played(config, held_out_plans(config, 1, 1000), agent)
    for episode in range(2):
        played.open(episode, GateState.POLICY)
        for number in range(5):
            played.see(number)
            if number < 4:
                played.execute(played.answer)
    (stored,) = played.trials
    report = Importer(config, tmp_path / "none").run(Recording(played.heard))
    assert report.refused[0].endswith("it belongs to an evaluation, which does not say what acted; give --weights FILE")
    report = Importer(config, tmp_path, weights).run(Recording(played.heard))
    assert (report.stored, report.refused) == (1, [])
    (path,) = (tmp_path / "evaluation").iterdir()
    assert path.read_bytes() == encode_trial(stored)
    (same,) = Comparison(config, Recording(played.heard), weights, 0.0).run()
    assert (len(same.deviations), same.first) == (8, None)
