"""reward_node: a judgement belongs to the stamp of its picture, and comes once per picture however often that comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String

from meld_core.announce import EpisodeKey, GateReport
from meld_core.config import RewardConfig
from meld_core.detectors.net import Classifier, ClassifierFacts, RewardNet, save_classifier
from meld_core.rewards import make_detector
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


def test_the_classifier_judges_over_ros_as_in_process(ros: Ros, tmp_path: Path) -> None:
    """A network as it was initialised: what it says is of no use, but it is the same on both ways."""
    path = tmp_path / "reward.safetensors"
    torch.manual_seed(0)
    save_classifier(Classifier(RewardNet(), ClassifierFacts(0.5, 0.1, 100.0, 50.0, 0.1, 1, "test", 0.01)), path)
    detector = make_detector(RewardConfig(kind="classifier", weights=str(path)))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(20, 255, (48, 64, 3), dtype=np.uint8) for _ in range(5)]
    bench = Bench(ros, **{"reward.kind": "classifier", "reward.weights": str(path)})
    for stamp, pixels in enumerate(pictures, 1):
        bench.show(pixels, stamp)
    bench.wait_for(5)
    expected = [detector({"detector": Frame(pixels, 1, "")}, None) for pixels in pictures]
    assert [msgs.reward_from_msg(msg) for msg in bench.rewards] == expected
    assert len({reward.probability for reward in expected}) == 5


def test_the_pose_detector_judges_the_tool_pose_with_its_stamp(ros: Ros, tmp_path: Path) -> None:
    path = tmp_path / "goals.yaml"
    path.write_text("goals: [[0.3, 0.0, 0.05]]")
    ros.node(RewardNode, **{"reward.kind": "pose", "reward.goals": str(path)})
    probe, rewards = ros.probe(), list[Any]()
    poses = msgs.publisher(probe, msgs.TOOL_POSE)
    msgs.subscription(probe, msgs.REWARD, rewards.append)
    ros.until(lambda: poses.get_subscription_count() and probe.count_publishers("reward"), "the match")
    for stamp, height in ((1, 0.08), (2, 0.051)):
        poses.publish(msgs.pose_to_msg(np.array([0.3, 0.0, height]), np.array([0.0, 0.0, 0.0, 1.0]), stamp))
    ros.until(lambda: len(rewards) == 2, "both judgements")
    assert [(msgs.stamp_of(msg.header), msgs.reward_from_msg(msg).success) for msg in rewards] == [
        (1, False),
        (2, True),
    ]


def test_a_stale_picture_is_no_judgement_in_realtime(ros: Ros) -> None:
    bench = Bench(ros, **{"robot.mode": "realtime", "reward.stale_after": 10.0})
    now = ros.probe().get_clock().now().nanoseconds
    bench.show(LIT, now - 20 * 10**9)
    bench.show(LIT, now)
    bench.wait_for(2)
    assert [msgs.reward_from_msg(msg).valid for msg in bench.rewards] == [False, True]
    ros.until(lambda: any("s after its stamp (reward.stale_after)" in said for said in bench.said), "the reason")


def test_the_drift_alarm_is_told_on_diagnostics(ros: Ros) -> None:
    bench = Bench(ros, **{"reward.brightness": 200.0, "reward.drift_frames": 5})
    for stamp in range(1, 6):
        bench.show(DARK, stamp)
    ros.until(lambda: any("brightness is 120, it was 200" in said for said in bench.said), "the alarm")
