"""The lockstep graph over DDS: the same trials as in one process, whatever message is lost once, whoever is killed."""

from __future__ import annotations

import dataclasses
import signal
from collections import Counter
from typing import Any

import numpy as np
import pytest

from meld_core.announce import Announcement
from meld_core.config import Config, PolicyConfig, load_config
from meld_core.metrics import read_rows
from meld_core.replay import Replay
from meld_core.step_times import STAGES, latency_table
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.trial_file import encode_trial
from meld_core.train import train_in_process
from meld_core.types import Trial
from meld_ros.policy_node import PolicyNode
from meld_ros.reward_node import RewardNode
from meld_ros.robot_node import RobotNode

from .conftest import DEADLINE, ROOT, Ros
from .stand_ins import StandInTrainer, parameters


def in_one_process(config: Config, folder: RunFolder) -> list[Trial]:
    """The run's trials, collected and trained on without ROS."""
    assert train_in_process(config, folder.create(config))
    return Replay(folder.replay).trials


def same_bytes(trials: list[Trial], others: list[Trial]) -> bool:
    """Whether trials equal others byte for byte, but for the id of the process that collected them."""
    pairs = list(zip(trials, others, strict=True))
    renamed = [dataclasses.replace(a, meta=dataclasses.replace(a.meta, id=b.meta.id)) for a, b in pairs]
    return [encode_trial(trial) for trial in renamed] == [encode_trial(trial) for trial in others]


@pytest.fixture
def learning() -> Config:
    """Two scripted trials, then two by the policy with weights from two rounds of updates."""
    return load_config([ROOT / "config" / "smoke.yaml"])


@pytest.mark.usefixtures("single_thread")
def test_graph_and_one_process_give_the_same_bytes_even_if_the_trainer_is_killed(ros: Ros, learning: Config) -> None:
    run = RunFolder(ros.folder / "run").create(learning)
    nodes = ros.start_graph("train", learning, run, "robot", "reward", "policy", "trainer")
    ros.until(lambda: list(run.replay.glob("*.safetensors")), "the first trial")
    nodes["trainer"].send_signal(signal.SIGKILL)
    nodes["trainer"].wait()
    ros.start_graph("train", learning, run, "trainer")
    ros.until(lambda: nodes["policy"].poll() is not None, "the end of the run")
    assert nodes["policy"].returncode == 0
    over_ros = Replay(run.replay).trials
    alone = in_one_process(learning, RunFolder(ros.folder / "alone"))
    assert [trial.meta.weights_version for trial in over_ros] == [-1, -1, 0, 1]
    assert [trial.meta.weights_digest for trial in over_ros] == [trial.meta.weights_digest for trial in alone]
    assert same_bytes(over_ros, alone)
    assert list((run.spool / "pending").iterdir()) == []
    ros.until(lambda: read_rows(run.path, "latency"), "the times of steps in the metrics")
    times = read_rows(run.path, "latency")[-1]
    steps = sum(int((trial.rows["step"] > 0).sum()) for trial in over_ros)
    assert (times["trial"], times["due"]) == (3, steps)
    assert {line[0] for line in latency_table(times)} == set(STAGES) - {"capture"}


@pytest.mark.usefixtures("single_thread")
def test_onnx_runtime_acts_as_torch_does_but_for_the_last_bits(ros: Ros, learning: Config) -> None:
    """Scripted trials are the same bytes; the policy's first one starts from the same weights and does the same."""
    config = dataclasses.replace(learning, policy=PolicyConfig(engine="onnx"))
    run = RunFolder(ros.folder / "run").create(config)
    nodes = ros.start_graph("train", config, run, "robot", "reward", "policy", "trainer")
    ros.until(lambda: nodes["policy"].poll() is not None, "the end of the run")
    assert nodes["policy"].returncode == 0
    over_ros, alone = Replay(run.replay).trials, in_one_process(config, RunFolder(ros.folder / "alone"))
    assert [trial.meta.weights_version for trial in over_ros] == [-1, -1, 0, 1]
    assert same_bytes(over_ros[:2], alone[:2])
    assert over_ros[2].meta.weights_digest == alone[2].meta.weights_digest
    ours, theirs = (trials[2].rows["action"] for trials in (over_ros, alone))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert not np.array_equal(ours, theirs), "the engine was torch"


class Losing:
    """Loses the third message of each kind, and remembers."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def loses(self, kind: str) -> bool:
        self.sent[kind] += 1
        return self.sent[kind] == 3


class LosingRobot(RobotNode):
    losing: Losing

    def _publish(self, name: str, msg: Any) -> None:
        if not self.losing.loses(name):
            super()._publish(name, msg)


class LosingPolicy(PolicyNode):
    losing: Losing

    def announce(self, announcement: Announcement) -> None:
        if not self.losing.loses("task"):
            super().announce(announcement)

    def request_reset(self) -> None:
        if not self.losing.loses("reset"):
            super().request_reset()

    def command(self, action: np.ndarray, stamp: int) -> None:
        if not self.losing.loses("action"):
            super().command(action, stamp)


class LosingReward(RewardNode):
    losing: Losing

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        publish = self._publisher.publish
        self._publisher.publish = lambda msg: None if self.losing.loses("reward") else publish(msg)


def test_each_kind_of_message_may_be_lost_once(ros: Ros, small: Config, run: RunFolder) -> None:
    losing = Losing()
    for cls in (LosingRobot, LosingPolicy, LosingReward):
        cls.losing = losing
    config = dataclasses.replace(small, gate=dataclasses.replace(small.gate, step_timeout=0.3, step_retries=100))
    trainer = StandInTrainer(ros, trials=2)
    ros.node(LosingReward, **parameters(config, "reward"))
    ros.node(LosingRobot, **parameters(config, "robot", "gate", "task", "sim", "reward"))
    policy = ros.node_apart(LosingPolicy, **parameters(config), run_folder=str(run.path))
    ros.until(lambda: policy.finished, "the end of the run")
    kinds = {kind for kind, count in losing.sent.items() if count >= 3}
    assert kinds >= {"task", "reset", "gate_state", "clock", "joint_states", "tool_pose", "image", "detector_image"}
    assert kinds >= {"truth", "reward", "executed_action", "action"}
    assert policy._collector.aborted == []
    alone = in_one_process(small, RunFolder(ros.folder / "alone"))
    assert same_bytes(list(trainer.trials.values()), alone)


def test_held_out_trials_with_given_weights(ros: Ros, learning: Config) -> None:
    run = RunFolder(ros.folder / "run")
    in_one_process(learning, run)
    nodes = ros.start_graph("eval", learning, run, "robot", "reward", "policy")
    nodes["policy"].wait(timeout=DEADLINE)
    assert nodes["policy"].returncode == 0
    files = sorted((run.path / "evaluation" / "pending").iterdir())
    assert len(files) == learning.eval.trials
    assert [row["trial"] for row in read_rows(run.path / "evaluation", "latency")] == [learning.eval.trials - 1]


def test_weights_of_another_architecture_end_the_policy_with_a_sentence(ros: Ros, learning: Config) -> None:
    run = RunFolder(ros.folder / "run")
    in_one_process(learning, run)
    wider = dataclasses.replace(learning, model=dataclasses.replace(learning.model, memory=24))
    policy = ros.start_graph("eval", wider, run, "policy")["policy"]
    output, _ = policy.communicate(timeout=DEADLINE)
    assert policy.returncode == 2
    assert "weights were built with model.memory=16, this config has 24" in output
    assert "Traceback" not in output
