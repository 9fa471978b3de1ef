"""`meld train` through the whole graph, as a person runs it: processes, DDS, a camera, death, Ctrl-C, resuming."""

from __future__ import annotations

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

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from meld_core.replay import Replay
from meld_core.storage.run_folder import RunFolder
from meld_core.train import train_in_process
from meld_ros.domain import own_domain
from meld_ros.network import network_environment

SOURCE = Path(__file__).resolve().parents[2] / "src"
DEADLINE = 100.0
TRIALS = 40
"""A trial takes a seventh of a second: so many that none of the looks below can come after the last."""
SETTINGS = (f"train.trials={TRIALS}", "eval.trials=1", "eval.processes=1", "eval.video_trials=1")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Look again until the condition holds; fails after DEADLINE."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if value := condition():
            return value
        select.select([], [], [], 0.02)
    raise AssertionError(f"not within {DEADLINE} s: {what}")


def node_pids(folder: Path) -> dict[str, int]:
    """Process ids of the nodes of a run, by executable, from their command lines."""
    found: dict[str, int] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if any(str(folder) in word for word in words) and "-m" in words:
            found[words[words.index("-m") + 1].removeprefix("meld_ros.")] = int(path.parent.name)
    return found


class Meld:
    """The command, running in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.run = folder / "runs" / "x"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meld_ros.cli", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def trials(self) -> int:
        return len(list((self.run / "replay").glob("*.safetensors")))

    def wait_for_trials(self, count: int) -> None:
        wait_for(lambda: self.trials() >= count or self.process.poll() is not None, f"{count} trials")
        assert self.process.poll() is None, self.process.communicate()[0]

    def end(self) -> tuple[int, str]:
        """Exit code and everything that was printed; no node may be left."""
        output, _ = self.process.communicate(timeout=DEADLINE)
        assert node_pids(self.run) == {}
        assert "Traceback" not in output
        return self.process.returncode, output


@pytest.fixture
def meld(tmp_path: Path) -> Iterator[Callable[..., Meld]]:
    """Starts the command; ends what a failed test leaves."""
    started: list[Meld] = []

    def start(*arguments: str) -> Meld:
        started.append(Meld(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video file for camera_node: a moving white bar."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    for i in range(90):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, i % 64] = 255
        writer.write(picture)
    writer.release()
    return path


def rows_of(folder: Path) -> list[dict[str, bytes]]:
    """Every recorded byte of each complete trial of a run, in order, but the stamps: a new simulation counts anew."""
    complete = [trial for trial in Replay(folder / "replay").trials if not trial.meta.aborted]
    columns = [{**trial.rows, **trial.truth} for trial in complete]
    return [{name: array.tobytes() for name, array in one.items() if name != "stamp"} for one in columns]


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Callable[[], Any]]]:
    """Subscribes from here to a topic of the graphs that are started afterwards; gives a look at its newest message."""
    for name, value in network_environment("", {}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    with own_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        node = rclpy.create_node("listener", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)

        def to(topic: str, kind: type) -> Callable[[], Any]:
            heard: list[Any] = []
            node.create_subscription(kind, topic, heard.append, qos_profile_sensor_data)

            def newest() -> Any:
                executor.spin_once(timeout_sec=0.02)
                return heard[-1] if heard else None

            return newest

        yield to
        executor.shutdown()
        context.try_shutdown()


def with_another_trainer(pids: dict[str, int], killed: int) -> dict[str, int]:
    """All nodes once a trainer runs that is not the killed one, which is listed until it is reaped; else nothing."""
    return pids if pids.get("trainer_node", killed) != killed and len(pids) == 5 else {}


def test_a_run_survives_death_and_ctrl_c_and_equals_one_in_process(
    meld: Callable[..., Meld], film: Path, listen: Callable[..., Callable[[], Any]], tmp_path: Path
) -> None:
    settings = (*SETTINGS, f"camera.device={film}", "camera.loop=true")
    newest = listen("camera/image", Image)
    running = meld("train", "--config", "smoke", "--run", "x", "--set", *settings)
    picture = wait_for(newest, "a picture from camera_node")
    assert (picture.height, picture.width, picture.header.frame_id) == (32, 32, "camera_optical")
    assert max(picture.data) > 100
    running.wait_for_trials(2)
    pids = node_pids(running.run)
    assert set(pids) == {"camera_node", "policy_node", "reward_node", "robot_node", "trainer_node"}
    os.kill(pids["trainer_node"], signal.SIGKILL)
    again = wait_for(lambda: with_another_trainer(node_pids(running.run), pids["trainer_node"]), "a new trainer")
    assert again | {"trainer_node": pids["trainer_node"]} == pids
    running.wait_for_trials(running.trials() + 1)
    os.kill(pids["policy_node"], signal.SIGKILL)
    code, output = running.end()
    assert code == 1
    assert "node 'trainer' was killed by SIGKILL; started again (1 of at most 3 times)" in output
    assert "node 'policy' was killed by SIGKILL; everything else was stopped" in output
    assert "go on with: meld train --run x --resume" in output

    before = running.trials()
    resumed = meld("train", "--run", "x", "--resume")
    resumed.wait_for_trials(before + 1)
    resumed.process.send_signal(signal.SIGINT)
    code, output = resumed.end()
    assert code == 0
    assert "stopped as asked; go on with: meld train --run x --resume" in output

    last = meld("train", "--run", "x", "--resume")
    code, output = last.end()
    assert code == 0, output
    certificate = json.loads((last.run / "certificate.json").read_text())
    assert certificate["trials"] == 1
    assert set(certificate["process_ids"]) == {"camera", "evaluation", "policy", "reward", "robot", "trainer"}
    for shown in ("certificate.json", "learning_curve.png", "report.html", "videos/held_out"):
        assert shown in output

    alone = RunFolder(tmp_path / "alone").create(RunFolder(last.run).read_config())
    assert train_in_process(alone.read_config(), alone)
    over_ros, in_process = rows_of(last.run), rows_of(alone.path)
    assert len(over_ros) == len(in_process) == TRIALS
    assert over_ros == in_process


def test_a_missing_device_is_one_sentence_and_exit_code_2(meld: Callable[..., Meld]) -> None:
    running = meld("train", "--config", "smoke", "--run", "x", "--set", "camera.device=nowhere.mp4")
    code, output = running.end()
    assert code == 2
    assert "nowhere.mp4" in output
    assert "node 'camera' ended with exit code 2" in output


def test_meld_launch_stops_on_sigterm(meld: Callable[..., Meld], tmp_path: Path) -> None:
    """The same graph by the launch arguments, in a namespace."""
    settings = yaml.safe_load((SOURCE.parent / "config" / "smoke.yaml").read_text())
    settings["train"]["trials"] = 10 * TRIALS
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(settings))
    running = meld("launch", "train", f"config:={tmp_path / 'long.yaml'}", "run:=x", "namespace:=left")
    running.wait_for_trials(1)
    running.process.send_signal(signal.SIGTERM)
    code, output = running.end()
    assert code == 0, output
    assert "stopped as asked" in output
