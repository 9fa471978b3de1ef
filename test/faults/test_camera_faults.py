"""Faults 8 to 13 of cameras and reward detectors: a stand-in camera driver, camera_node and reward_node as processes.

What the policy gets is `image`: after a fault no picture comes until it is mended, and /diagnostics says why. Then
robot_node has no new step, and the arm holds by the expiry of its last command (test_robot_faults, test_driver_faults).
Times are printed, not asserted: this machine may be busy.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String

from meld_core.config import Config
from meld_core.storage.run_folder import RunFolder
from meld_ros import conversions as msgs
from test.ros.conftest import Process, Ros
from test.ros.stand_ins import StandInTrainer
from test.stand_ins.camera import scene_of

UNGUARDED = str(Path(__file__).resolve().parent / "unguarded_camera.py")
STAND_IN = str(Path(__file__).resolve().parents[1] / "stand_ins" / "camera.py")
CAMERA = {
    "camera.device": "topic:bench/image",
    "camera.width": 64,
    "camera.height": 48,
    "camera.stale_after": 3.0,  # a busy machine must not look like a lost camera; as shipped 0.5 s
    "sim.image_size": 32,
}


class Bench:
    """Hears the node's pictures and its diagnostics, and tells the stand-in what to do."""

    def __init__(self, ros: Ros) -> None:
        self.ros, node = ros, ros.probe()
        self.stamps: list[int] = []
        self.said: list[str] = []
        node.create_subscription(Image, "image", self._on_image, qos_profile_sensor_data)
        msgs.subscription(node, msgs.DIAGNOSTICS, self._on_diagnostics)
        self._word = node.create_publisher(String, "stand_in/camera", 10)

    def _on_image(self, msg: Image) -> None:
        self.stamps.append(msgs.stamp_of(msg.header))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.said = [f"{status.message} {[(v.key, v.value) for v in status.values]}" for status in msg.status]

    def camera(self, topic: str = "bench/image", scene: int = 1) -> Process:
        """A stand-in driver."""
        return self.ros.start(STAND_IN, {"topic": topic, "scene": scene}, f"camera{scene}")

    def node(self, without: str = "", **settings: Any) -> Process:
        """camera_node; `without` names a guard that is switched off (unguarded_camera.py)."""
        os.environ["MELD_TEST_WITHOUT"] = without
        return self.ros.start(UNGUARDED if without else "meld_ros.camera_node", CAMERA | settings, "camera_node")

    def tell(self, word: str) -> None:
        """Make the stand-in misbehave, or behave."""
        self.ros.until(self._word.get_subscription_count, "the stand-in's ear")
        self._word.publish(String(data=word))

    def sees(self, count: int = 5) -> None:
        """Wait for that many more pictures."""
        wanted = len(self.stamps) + count
        self.ros.until(lambda: len(self.stamps) >= wanted, f"{count} pictures")

    def hears(self, words: str) -> float:
        """Wait until the newest status holds these words."""
        return self.ros.until(lambda: any(words in said for said in self.said), words)

    def stays_blind(self) -> None:
        """Until the next two heartbeats no picture comes."""
        before = len(self.stamps)
        for _ in range(2):
            self.said = []
            self.ros.until(lambda: self.said, "a heartbeat")
        assert len(self.stamps) == before
        assert self.stamps == sorted(set(self.stamps))


@pytest.fixture
def bench(ros: Ros) -> Bench:
    return Bench(ros)


def test_fault_8_an_unplugged_camera_is_named_and_comes_back_without_a_restart(bench: Bench) -> None:
    driver, node = bench.camera(), bench.node()
    bench.sees()
    driver.kill()
    print(f"unplugged: named after {bench.hears('topic:bench/image'):.2f} s, stale_after 3 s")
    bench.stays_blind()
    bench.camera()
    bench.sees()
    bench.hears("running")
    assert node.poll() is None


def test_fault_8_without_its_guard_old_pictures_go_on(bench: Bench) -> None:
    driver = bench.camera()
    bench.node(without="newer")
    bench.sees()
    driver.kill()
    driver.wait()
    bench.sees(30)


@pytest.mark.parametrize("guarded", [True, False])
def test_fault_9_a_frozen_camera_is_named_within_its_time(bench: Bench, guarded: bool) -> None:
    """Fresh stamps, the same pixels. Without `frozen_time` old pictures go on to the policy."""
    bench.camera()
    bench.node(**({} if guarded else {"camera.frozen_time": 0.0}))
    bench.sees()
    bench.tell("freeze")
    if not guarded:
        bench.sees(40)
        return
    print(f"frozen: named after {bench.hears('topic:bench/image is frozen'):.2f} s, frozen_time 0.8 s")
    bench.stays_blind()
    bench.tell("well")
    bench.sees()


def test_fault_10_stamps_that_lag_or_jump_back_are_refused_and_counted(bench: Bench) -> None:
    bench.camera()
    bench.node()
    bench.sees()
    for word, sentence in (("lag", "s after its stamp (stale_after)"), ("back", "do not go forward")):
        bench.tell(word)
        bench.hears(sentence)
        if word == "lag":
            bench.stays_blind()
        bench.hears(f"camera refused {word}")
        bench.tell("well")
        bench.sees()
    assert bench.stamps == sorted(set(bench.stamps))


@pytest.mark.parametrize("word", ["lag", "small"])
def test_faults_10_and_12_without_their_guard_such_pictures_reach_the_policy(bench: Bench, word: str) -> None:
    """Stamps that jump back are kept out twice; a wrong encoding cannot be let through: there is nothing to decode."""
    bench.camera()
    bench.node(without="refusal")
    bench.sees()
    bench.tell(word)
    bench.sees(40)


@pytest.mark.parametrize("guarded", [True, False])
def test_fault_11_swapped_cameras_are_refused_until_they_are_put_right(
    bench: Bench, tmp_path: Path, guarded: bool
) -> None:
    """External sees scene 1, wrist scene 2; their drivers are started the wrong way round."""
    settings: dict[str, Any] = {"wrist_camera.device": "topic:wrist/image"}
    settings |= {"wrist_camera.width": 64, "wrist_camera.height": 48, "wrist_camera.stale_after": 3.0}
    for name, scene in (("camera", 1), ("wrist_camera", 2)):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), scene_of(scene)[..., ::-1].astype(np.uint8))
        settings |= {f"{name}.reference": str(path)} if guarded else {}
    wrong = [bench.camera("bench/image", 2), bench.camera("wrist/image", 1)]
    node = bench.node(**settings)
    if not guarded:
        bench.sees()
        return
    bench.hears("it looks like the wrist_camera camera")
    bench.stays_blind()
    for driver in wrong:
        driver.kill()
    bench.camera("bench/image", 1)
    bench.camera("wrist/image", 2)
    bench.sees()
    assert node.poll() is None


@pytest.mark.parametrize(
    ("word", "sentence"),
    [("small", "gives pictures of 64x24, expected 64x48"), ("encoding", "an image of encoding 'yuv422' came")],
)
def test_fault_12_a_wrong_picture_is_one_sentence_and_no_crash(bench: Bench, word: str, sentence: str) -> None:
    bench.camera()
    bench.tell(word)
    node = bench.node()
    bench.hears(sentence)
    bench.stays_blind()
    bench.tell("well")
    bench.sees()
    assert node.poll() is None


def test_fault_13_a_dead_reward_node_invents_no_reward(ros: Ros, small: Config, tmp_path: Path) -> None:
    """Realtime: the arm goes on, what was not judged is marked, the trial neither succeeds nor fails by default."""
    patient = dataclasses.replace(small.gate, policy_lease=5.0, max_age=5.0, expiry_periods=5.0, step_timeout=10.0)
    robot = dataclasses.replace(small.robot, mode="realtime", control_period=0.5)
    plenty = dataclasses.replace(small.train, trials=50, demonstrations=50)
    config = dataclasses.replace(small, gate=patient, robot=robot, train=plenty)
    config = dataclasses.replace(config, reward=dataclasses.replace(config.reward, stale_after=5.0))
    run = RunFolder(tmp_path / "run").create(config)
    trainer = StandInTrainer(ros, config.train.trials)
    nodes = ros.start_graph("train", config, run, "robot", "reward", "policy")
    ros.until(lambda: trainer.trials, "the first trial")
    assert all(trial.rows["reward_valid"].any() for trial in trainer.trials.values())
    nodes["reward"].kill()
    begun = len(trainer.trials)
    ros.until(lambda: len(trainer.trials) >= begun + 2, "a trial that began after that")
    trial = list(trainer.trials.values())[begun + 1]
    judged = trial.rows["reward_valid"] & ~trial.rows["first_in_episode"]
    assert not judged.any(), "the reward at an episode's first row is 0 by definition; all others are not known"
    assert np.isnan(trial.rows["reward"][~trial.rows["reward_valid"]]).all()
    assert not trial.meta.aborted
    assert not trial.rows["terminal"].any()
