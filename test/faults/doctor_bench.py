"""A bench, its graph and the doctor as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from std_msgs.msg import String

from meld_core.config import Config
from meld_core.storage.run_folder import RunFolder
from meld_ros.graph import GRAPHS, Options, parameters_of, takes_part
from meld_ros.share import resolve_config
from test.faults.driver_bench import READY, STAND_INS
from test.ros.conftest import Process, Ros
from test.ros.stand_ins import Listener

BUSY = ("gate.max_age=5.0", "gate.policy_lease=5.0", "reward.stale_after=5.0", "driver.stale_after=2.0",
        "driver.connect_timeout=60.0", "camera.stale_after=5.0", "train.trials=100",
        "train.demonstrations=100")  # fmt: skip
"""A busy machine is no fault."""
QUIET = "camera.frozen_time=0.0"
"""The stand-in's pictures have no noise, and a resting arm shows the same one."""


class Bench:
    """A bench, its graph, and the doctor."""

    def __init__(self, ros: Ros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ros, self.tmp, self.patch = ros, tmp_path, monkeypatch
        self.path = tmp_path / "runs" / "x"
        self.nodes: dict[str, Process] = {}

    def settle(self, robot: str = "ros2_control", *overrides: str) -> Config:
        """Settings of the run `x`, and its folder."""
        self.config = resolve_config(robot, config="smoke", overrides=[*BUSY, *overrides])
        self.folder = RunFolder(self.path).create(self.config)
        return self.config

    def stand_in(self, **parameters: Any) -> Process:
        """The driver and the cameras of the bench."""
        script = str(STAND_INS / "trajectory_controller.py")
        return self.ros.start(script, {"start": READY, **parameters})

    def camera(self, topic: str, scene: int = 1) -> Process:
        """A camera driver of its own."""
        return self.ros.start(str(STAND_INS / "camera.py"), {"topic": topic, "scene": scene}, f"camera{scene}")

    def tell_camera(self, word: str) -> None:
        """Make it misbehave."""
        node = self.ros.probe()
        publisher = node.create_publisher(String, "stand_in/camera", 10)
        self.ros.until(publisher.get_subscription_count, "the camera's ear")
        publisher.publish(String(data=word))

    def graph(self, mode: str = "robot", *names: str, **different: Any) -> None:
        """Nodes of a graph with the parameters of the config, but for `different`; waits for heartbeats."""
        options = Options(folder=self.path)
        listener = Listener(self.ros)
        self.ros.folder = self.path / "parameters"  # as graph.py writes them
        self.ros.folder.mkdir(exist_ok=True)
        for spec in GRAPHS[mode]:
            if spec.name in names or (not names and takes_part(spec, self.config)):
                parameters = parameters_of(spec, mode, self.config, options) | different.get(spec.name, {})
                self.nodes[spec.name] = self.ros.start(f"meld_ros.{spec.executable}", parameters, spec.name)
        for name in names or self.nodes:
            listener.hears(f"{name}: ")

    def doctor(self, *arguments: str, run: bool = True, patience: float = 8.0) -> dict[str, Any]:
        """What it prints as JSON; the exit code must fit."""
        named = ("--run", str(self.path)) if run else ()
        command = [sys.executable, "-m", "meld_ros.cli", "doctor", "--json", "--patience", str(patience)]
        process = subprocess.Popen(
            [*command, *named, *arguments],
            cwd=self.tmp,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ros.until(lambda: process.poll() is not None, "the doctor")
        out, err = process.communicate()
        assert process.returncode in (0, 1), err
        said: dict[str, Any] = json.loads(out)
        assert said["healthy"] == (process.returncode == 0) == (not said["findings"])
        return said


def camera(bench: Bench, *overrides: str) -> None:
    """Pictures by camera_node from a topic; one view."""
    settings = ("camera.device=topic:bench/image", "camera.width=64", "camera.height=48", "sim.views=[external]")
    bench.settle("ros2_control", "model.views=[external]", "reward.min_pixels=1000", *settings, *overrides)
