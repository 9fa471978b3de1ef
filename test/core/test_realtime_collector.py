"""Fault 13 of a silent reward detector, by hand: realtime goes on, and no reward is invented."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lockstep_ring import SMALL

from meld_core.agent import Agent
from meld_core.announce import Announcement, GateReport
from meld_core.collector import Collector
from meld_core.link import Phase
from meld_core.robot import GateState
from meld_core.schedule import Schedule
from meld_core.storage.memory_sink import MemorySink
from meld_core.types import Reward, Trial

PERIOD = 250_000_000
PARTS = ("joint_states", "tool_pose", "image")
CONFIG = dataclasses.replace(SMALL, robot=dataclasses.replace(SMALL.robot, mode="realtime"))


class Hand:
    """A link in the test's hand: time, steps and rewards come when it says so."""

    def __init__(self) -> None:
        self.now, self.commands, self.trials = 0.0, list[tuple[int, np.ndarray]](), list[Trial]()
        plan = Schedule(CONFIG).plan
        self.collector = Collector(
            CONFIG,
            Agent(CONFIG),
            MemorySink(),
            self,
            lambda index: plan(index) if index < 1 else None,
            run="hand",
            on_trial=self.trials.append,
            clock=lambda: self.now,
        )
        self.collector.start()

    def announce(self, announcement: Announcement) -> None:
        self.key = announcement.key

    def request_reset(self) -> None:
        pass

    def command(self, action: np.ndarray, stamp: int) -> None:
        self.commands.append((stamp, action))

    def begin(self, stamp: int) -> None:
        """Echo the announced episode, then open the gate."""
        self.collector.on_report(GateReport(GateState.HOLD, "", self.key, 0, PARTS))
        self.collector.on_report(GateReport(GateState.POLICY, "", self.key, stamp, PARTS))

    def step(self, number: int, reward: Reward | None) -> None:
        """Everything of one stamp, a period after the last; what was commanded is executed."""
        if self.commands:
            self.collector.on_executed(*self.commands[-1])
        stamp, tell = number * PERIOD, self.collector.on_part
        tell("joint_states", stamp, (np.zeros(6), np.zeros(6)))
        tell("tool_pose", stamp, (np.array([0.3, 0.0, 0.09]), np.array([0.0, 0.0, 0.0, 1.0])))
        if reward is not None:
            tell("reward", stamp, reward)
        tell("image", stamp, np.zeros((32, 16, 3), np.uint8))


FAILURE = Reward(0.0, False, 0.1)


def test_fault_13_without_a_word_of_the_detector_the_episode_goes_on_and_its_rewards_are_missing() -> None:
    """Heard at 0.25 s; 1.4 periods of 0.25 s later, at 0.60 s, the newest whole step counts without a judgement."""
    hand = Hand()
    hand.begin(PERIOD)
    hand.now = 0.25
    hand.step(1, FAILURE)
    assert [stamp for stamp, _ in hand.commands] == [PERIOD]
    hand.now = 0.50
    hand.step(2, None)
    assert len(hand.commands) == 1, "a judgement may still come"
    hand.now = 0.61
    hand.step(3, None)
    assert [stamp // PERIOD for stamp, _ in hand.commands] == [1, 2]
    assert (hand.collector.unjudged, hand.collector.aborted) == (1, [])


def test_fault_13_without_its_guard_the_policy_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meld_core.collector._REWARD_PATIENCE", 1e9)
    hand = Hand()
    hand.begin(PERIOD)
    hand.step(1, FAILURE)
    for number in range(2, 9):
        hand.now += 0.25
        hand.step(number, None)
    assert len(hand.commands) == 1


def test_fault_13_missing_rewards_are_masked_in_what_is_recorded() -> None:
    hand = Hand()
    for episode in range(2):
        first = 100 * episode + 1
        hand.begin(first * PERIOD)
        number = first
        while hand.collector.phase is Phase.RUNNING:
            hand.now += 0.5
            hand.step(number, FAILURE if number < first + 2 else None)
            number += 1
    assert [len(trial) for trial in hand.trials] == [10]
    rows = hand.trials[0].rows
    assert rows["reward_valid"].tolist() == [True, True, False, False, False] * 2
    assert np.isnan(rows["reward"][~rows["reward_valid"]]).all()
    assert not rows["success"].any()
    assert not rows["terminal"].any(), "no success and no failure by default: the episode ends by its time"
    assert hand.collector.unjudged == 6
