"""reward_node: a judgement belongs to the stamp of its picture, and comes once per picture however often that comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String

from meld_core.announce import EpisodeKey, GateReport
from meld_core.robot import GateState
from meld_core.types import Frame
from meld_ros import conversions as msgs
from meld_ros.reward_node import RewardNode

from .conftest import Ros

SETTINGS = {"reward.region": [0, 0, 8, 8], "reward.min_pixels": 4}
LIT = np.full((8, 8, 3), (0, 255, 0), np.uint8)
DARK = np.full((8, 8, 3), (120, 120, 120), np.uint8)


class Bench:
    """Plays the robot and the policy."""

    def __init__(self, ros: Ros, **settings: object) -> None:
        self.ros = ros
        ros.node(RewardNode, **{**SETTINGS, **settings})
        probe = ros.probe()
        self.rewards: list[Any] = []
        self.said: list[str] = []
        self.images = msgs.publisher(probe, msgs.DETECTOR_IMAGE)
        self.gate = msgs.publisher(probe, msgs.GATE_STATE)
        msgs.subscription(probe, msgs.REWARD, self.rewards.append)
        msgs.subscription(probe, msgs.DIAGNOSTICS, self._on_diagnostics)
        matches = (self.images.get_subscription_count, self.gate.get_subscription_count)
        ros.until(lambda: all(match() for match in matches) and probe.count_publishers("reward"), "the match")

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.said += [status.message for status in msg.status]

    def show(self, pixels: np.ndarray, stamp: int) -> None:
        self.images.publish(msgs.image_to_msg(Frame(pixels, stamp, "detector_optical")))

    def wait_for(self, count: int) -> list[tuple[int, float]]:
        self.ros.until(lambda: len(self.rewards) >= count, f"{count} rewards")
        return [(msgs.stamp_of(msg.header), msgs.reward_from_msg(msg).reward) for msg in self.rewards]


def test_a_reward_carries_the_stamp_of_its_picture(ros: Ros) -> None:
    bench = Bench(ros)
    bench.show(DARK, 7 * 10**9 + 5)
    bench.show(LIT, 8 * 10**9)
    assert bench.wait_for(2) == [(7 * 10**9 + 5, 0.0), (8 * 10**9, 1.0)]


def test_a_repeated_picture_gets_the_same_answer_and_does_not_count_for_the_debounce(ros: Ros) -> None:
    bench = Bench(ros, **{"reward.debounce": 2})
    bench.show(LIT, 10)
    bench.show(LIT, 10)
    bench.show(LIT, 20)
    assert bench.wait_for(3) == [(10, 0.0), (10, 0.0), (20, 1.0)]


def test_a_reset_begins_a_new_count_and_time_may_start_afresh(ros: Ros) -> None:
    bench = Bench(ros, **{"reward.debounce": 2})
    bench.show(LIT, 1000)
    bench.wait_for(1)
    report = GateReport(GateState.POLICY, "", EpisodeKey("r", "b", 0, 0), reset_stamp=20)
    bench.gate.publish(String(data=report.to_json()))
    bench.show(LIT, 20)
    ros.until(lambda: len(bench.rewards) == 2 or bench.show(LIT, 20), "a judgement after the reset")
    answers = bench.wait_for(2)
    assert answers[1] == (20, 0.0)


@pytest.mark.parametrize("pixels", [np.zeros((8, 8, 3), np.uint8)])
def test_a_black_picture_is_no_judgement(ros: Ros, pixels: np.ndarray) -> None:
    bench = Bench(ros)
    bench.show(pixels, 5)
    bench.wait_for(1)
    assert not msgs.reward_from_msg(bench.rewards[0]).valid


def test_a_picture_of_another_size_is_refused_on_diagnostics(ros: Ros) -> None:
    bench = Bench(ros)
    bench.show(np.zeros((4, 4, 3), np.uint8) + 100, 5)
    ros.until(lambda: any("refused" in sentence and "region" in sentence for sentence in bench.said), "the refusal")
    assert bench.rewards == []
    bench.show(LIT, 6)
    assert bench.wait_for(1) == [(6, 1.0)]
