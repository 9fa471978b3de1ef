"""Faults 14, 19, 20 and 21: false rewards, bad weights, a learner gone wrong, a full disk."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sensor_msgs.msg import Image

from meld_core.config import Config
from meld_core.learner import Learner
from meld_core.metrics import Tail
from meld_core.replay import Replay
from meld_core.storage.ledger import read_ledger
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.tensor_file import pack
from meld_core.storage.verify import verify
from meld_core.types import Reward
from meld_core.weights import Weights, saved_weights
from meld_ros import conversions as msgs
from meld_ros.graph import GRAPHS, Options, parameters_of
from meld_ros.qos import weights_qos

from ..core.test_learner import Store
from ..ros.conftest import DEADLINE, ROOT, Ros
from ..ros.stand_ins import Listener, StandInTrainer

HERE = Path(__file__).resolve().parent


def of(config: Config, **train: int) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


def test_14_a_burst_of_false_positives_is_masked_and_written_down(ros: Ros, small: Config) -> None:
    """A detector that sees success everywhere: nothing above the box's face is believed, and nothing is invented."""
    folder = RunFolder(ros.folder / "fault14").create(small)
    node = ros.probe()
    publisher = msgs.publisher(node, msgs.REWARD)

    def judge(msg: Image) -> None:
        publisher.publish(msgs.reward_to_msg(Reward(1.0, True, 1.0), msgs.stamp_of(msg.header)))

    msgs.subscription(node, msgs.DETECTOR_IMAGE, judge)
    nodes = ros.start_graph("train", small, folder, "robot", "policy", "trainer")
    ros.until(lambda: nodes["policy"].poll() == 0, "the end of the run")
    doubted = [event for event in read_ledger(folder.spool) if event["event"] == "doubted"]
    trials = Replay(folder.replay).trials
    assert len(trials) == 2
    assert len(doubted) >= 3
    assert "above the box's face" in doubted[0]["reason"]
    face = small.task.box_center[2]
    for trial in trials:
        rows = trial.rows
        high = rows["tool_position"][:, 2] > face
        assert not rows["success"][high].any()
        masked = high & ~rows["first_in_episode"]
        assert not rows["reward_valid"][masked].any()
        assert np.isnan(rows["reward"][masked]).all()
    assert verify(folder.path).doubted == len(doubted)


def with_nan(weights: Weights) -> bytes:
    """What `Weights` itself refuses to make."""
    meta = {
        "schema": 1, "version": weights.version, "trained_through_trial": weights.trained_through_trial,
        "run": weights.run, "config": weights.config,
    }  # fmt: skip
    arrays = {name: tensor.numpy().copy() for name, tensor in weights.tensors.items()}
    next(array for array in arrays.values() if array.dtype == np.float32 and array.ndim).fill(np.nan)
    return pack("weights", json.dumps(meta, sort_keys=True), arrays)


def test_19_bad_weights_are_refused_by_a_policy_that_goes_on_with_good_ones(ros: Ros, small: Config) -> None:
    config = of(small, trials=4)
    folder = RunFolder(ros.folder / "fault19").create(config)
    learner, listener = Learner(config, Store([]), folder.name), Listener(ros)
    trainer = StandInTrainer(ros, 4)
    sender = msgs.publisher(ros.probe(), msgs.WEIGHTS, weights_qos(1))
    policy = ros.start_graph("train", config, folder, "robot", "reward", "policy")["policy"]
    ros.until(lambda: len(trainer.trials) == 2, "the demonstrations")

    def of_version(version: int, **different: Any) -> Weights:
        return dataclasses.replace(learner.weights(), version=version, trained_through_trial=version + 1, **different)

    def send(data: bytes, *reason: str) -> None:
        sender.publish(msgs.bytes_to_msg(data))
        listener.hears("policy", "refused", *reason)
        assert len(trainer.trials) == 2

    good = of_version(0).to_bytes()
    send(good[:-3] + bytes([good[-3] ^ 1]) + good[-2:], "does not match its sha256")
    wider = dataclasses.replace(config, model=dataclasses.replace(config.model, memory=32))
    foreign = Learner(wider, Store([]), folder.name).weights()
    send(dataclasses.replace(foreign, trained_through_trial=1).to_bytes(), "model.memory=32")
    send(with_nan(of_version(0)), "NaN or infinity")
    send(of_version(0, run="another").to_bytes(), "weights of run 'another'")
    sender.publish(msgs.bytes_to_msg(good))
    ros.until(lambda: len(trainer.trials) == 3, "a trial of the policy")
    sender.publish(msgs.bytes_to_msg(of_version(2).to_bytes()))
    sender.publish(msgs.bytes_to_msg(of_version(1).to_bytes()))
    listener.hears("policy", "refused", "version 1 came, version 2 is here already")
    assert [trial.meta.weights_version for trial in trainer.trials.values()] == [-1, -1, 0]
    assert policy.poll() is None


def test_20_a_learner_that_has_gone_wrong_is_put_back_and_publishes_nothing_bad(ros: Ros, small: Config) -> None:
    """Both losses are NaN from the third round on; the run goes on with the weights of its last checkpoint."""
    config = of(small, trials=6, checkpoint_every=1)
    folder = RunFolder(ros.folder / "fault20").create(config)
    listener = Listener(ros)
    nodes = ros.start_graph("train", config, folder, "robot", "reward", "policy")
    spec = next(spec for spec in GRAPHS["train"] if spec.name == "trainer")
    ros.start(
        str(HERE / "nan_trainer.py"), parameters_of(spec, "train", config, Options(folder=folder.path)), "trainer"
    )
    listener.hears("trainer", "rolled back to the weights of trial")
    ros.until(lambda: nodes["policy"].poll() == 0, "the end of the run")
    by_trial = {weights.trained_through_trial: weights for weights in saved_weights(folder.weights)}
    assert by_trial[3].digest == by_trial[2].digest  # and both are finite, or they could not be read
    assert by_trial[3].version == by_trial[2].version + 1
    assert "updates had gradients that were not finite" in folder.metrics.read_text()
    assert len(Replay(folder.replay).trials) == 6


@dataclasses.dataclass
class Disk:
    """A file system that a test may fill."""

    path: Path
    min_free: float
    """Setting with which it is not yet full [MB]."""
    filler: int
    """Bytes that fill it."""

    def fill(self) -> None:
        with (self.path / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.filler)

    def clear(self) -> None:
        (self.path / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A tmpfs of 48 MB; where mounting is not permitted the common disk, of which a lot is demanded to be free."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(tmp_path)], capture_output=True)
    facts = os.statvfs(tmp_path)
    free = facts.f_bavail * facts.f_frsize
    if mounted.returncode == 0:
        print("the disk is a tmpfs")
        yield Disk(tmp_path, 16.0, free - 6_000_000)
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    else:
        print("the disk is the common one: mounting is not permitted here")
        yield Disk(tmp_path, (free - 2_000_000_000) / 1e6, 4_000_000_000)


PAUSED = "paused until there is room"


def notes_of(run: RunFolder) -> list[str]:
    """What the trainer has told with the run's progress."""
    return [row["note"] for row in Tail(run.metrics).read() if "note" in row]


def wait_for(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 2 * DEADLINE
    while not condition():
        assert time.monotonic() < end, f"still waiting for {what}"
        select.select([], [], [], 0.05)


def test_21_a_full_disk_pauses_the_run_and_loses_nothing(disk: Disk) -> None:
    """The whole graph. While the disk is full no episode begins; once there is room the run comes to its end."""
    settings = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    settings["train"] |= {"trials": 40, "demonstrations": 38, "checkpoint_every": 1}
    settings["storage"] = {"min_free": disk.min_free, "reserve": 1.0}
    (disk.path / "small.yaml").write_text(yaml.safe_dump(settings))
    run = RunFolder(disk.path / "runs" / "x")
    process = subprocess.Popen(
        [sys.executable, "-m", "meld_ros.cli", "launch", "train", f"config:={disk.path / 'small.yaml'}", "run:=x"],
        cwd=disk.path, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(list(run.replay.glob("*.safetensors"))) >= 2, "the first trials")
        disk.fill()
        said = run.path / "logs" / "policy.log"
        wait_for(lambda: PAUSED in said.read_text(), "a word of the policy")
        wait_for(lambda: any(PAUSED in note for note in notes_of(run)), "a word of the trainer")
        assert process.poll() is None
        disk.clear()
        output, _ = process.communicate(timeout=2 * DEADLINE)
        assert process.returncode == 0, output
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    report = verify(run.path)
    assert report.sound, report.sentences()
    assert (report.trials, report.aborted, report.lost) == (40, 0, [])
    assert notes_of(run)[-1] == ""
