"""Sim and real are interchangeable by `robot:=` alone: the same config trains on three robots, and trials are alike.

Short runs of the whole graph: a scripted trial and one of the policy, with weights that the trainer made of the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meld_core.config import Config
from meld_core.replay import Replay
from meld_core.sim.arm import POINTING_DOWN, arm_limits
from meld_core.storage.run_folder import RunFolder
from meld_core.types import Trial
from test.faults.driver_bench import READY, SCRIPTS, STAND_INS, urgent
from test.ros.conftest import DEADLINE, ROOT, Ros

SETTINGS = """
task: {horizon: 6}
driver: {stale_after: 2.0, connect_timeout: 60.0, reset_speed: 1.5, park_speed: 1.5}
gate: {policy_lease: 5.0, max_age: 5.0, step_timeout: 20.0}
train: {trials: 2, demonstrations: 1}
"""
CAMERAS = """
camera: {device: "topic:bench/external", name: external, width: 32, height: 32, frozen_time: 0.0, stale_after: 5.0}
wrist_camera: {device: "topic:bench/wrist", name: wrist, width: 32, height: 32, frozen_time: 0.0, stale_after: 5.0}
detector_camera: {device: "topic:bench/detector", name: detector, width: 32, height: 32, frozen_time: 0.0,
                  stale_after: 5.0}
"""


def write_config(path: Path, more: str = "") -> None:
    """The smoke test's sizes, two trials, patience for a busy machine."""
    smoke = (ROOT / "config" / "smoke.yaml").read_text().replace("  horizon: 6\n", "").replace("task:\n", "")
    smoke = smoke.replace("train:\n  trials: 4\n  demonstrations: 2\n  checkpoint_every: 2\n", "")
    path.write_text(smoke.replace("reward:\n", "reward:\n  stale_after: 10.0\n") + SETTINGS + more)


def training(folder: Path, robot: str, *arguments: str) -> subprocess.Popen[str]:
    """`meld launch train`, under way."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = ["launch", "train", f"robot:={robot}", "config:=short.yaml", *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "meld_ros.cli", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def trials_of(folder: Path, run: str) -> tuple[Config, list[Trial]]:
    """Config and whole trials of a run that has ended."""
    run_folder = RunFolder(folder / "runs" / run)
    trials = [trial for trial in Replay(run_folder.replay).trials if not trial.meta.aborted]
    return run_folder.read_config(), sorted(trials, key=lambda trial: trial.meta.id.counter)


def train(ros: Ros, folder: Path, robot: str, run: str) -> tuple[Config, list[Trial]]:
    """A whole run on one robot."""
    process = ros.adopt(training(folder, robot, f"run:={run}"))
    out, _ = process.communicate(timeout=270)
    assert process.returncode == 0, out
    return trials_of(folder, run)


def conforms(config: Config, trials: list[Trial]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Check the rates and ranges of a short run's trials by numbers of the bench. Returns their schema."""
    assert [trial.meta.id.counter for trial in trials] == [0, 1]
    assert [trial.meta.weights_version >= 0 for trial in trials] == [False, True]
    limits, period = arm_limits(config), config.robot.control_period
    for trial in trials:
        rows = trial.rows
        assert len(list(trial.episodes())) == config.task.episodes
        assert rows["reward_valid"].all()
        assert set(np.unique(rows["reward"])) <= {0.0, 1.0}
        assert ((rows["probability"] >= 0) & (rows["probability"] <= 1)).all()
        assert np.abs(rows["action"]).max() <= 1.0
        assert ((rows["joints"] >= limits.joint_lower - 0.01) & (rows["joints"] <= limits.joint_upper + 0.01)).all()
        assert np.abs(rows["velocities"]).max() <= 1.5 * limits.joint_velocity.max()
        tool = rows["tool_position"]
        assert ((tool >= limits.workspace_lower - 0.01) & (tool <= limits.workspace_upper + 0.01)).all()
        down = np.abs(rows["tool_orientation"] @ np.array(POINTING_DOWN))  # q and -q are one rotation
        assert down.min() > 0.99
        assert 20 < rows["image"].mean() < 235
        assert rows["image"].std() > 5
        for episode in trial.episodes():
            part = {name: array[episode] for name, array in rows.items()}
            assert part["step"].tolist() == list(range(len(part["step"])))
            assert 2 <= len(part["step"]) <= config.task.horizon + 1
            assert (part["action"][-1] == 0).all()
            assert part["reward"][0] == 0
            between = np.diff(part["stamp"]) * 1e-9
            if trial.meta.simulated:
                assert between == pytest.approx(period)
            else:  # a busy machine lets ticks come late, and the next ones sooner
                assert 0.5 * period <= between.mean() <= 4 * period
            moved = np.linalg.norm(np.diff(part["tool_position"], axis=0), axis=1)
            assert moved.max() <= 1.5 * np.sqrt(3) * config.robot.step_size
            assert moved.max() > 0.002
    return {name: (str(array.dtype), array.shape[1:]) for name, array in trials[0].rows.items()}


def test_the_same_config_trains_on_three_robots(ros: Ros, tmp_path: Path, xs_messages: Path) -> None:
    write_config(tmp_path / "short.yaml")
    schemas, configs = {}, {}
    for robot in ("mujoco", "ros2_control", "widowx"):
        stand_in = None
        if robot in SCRIPTS:
            stand_in = ros.start(str(STAND_INS / f"{SCRIPTS[robot]}.py"), {"start": READY})
            urgent(stand_in)
        configs[robot], trials = train(ros, tmp_path, robot, robot)
        schemas[robot] = conforms(configs[robot], trials)
        assert [trial.meta.simulated for trial in trials] == [robot == "mujoco"] * 2
        assert all(bool(trial.truth) == (robot == "mujoco") for trial in trials)
        assert {trial.meta.task["id"] for trial in trials} == {"insertion-train-0", "insertion-train-1"}
        if stand_in is not None:
            assert stand_in.poll() is None
            stand_in.kill()
    assert schemas["mujoco"] == schemas["ros2_control"] == schemas["widowx"]
    same = ("task", "sim", "gate", "reward", "model", "loss", "sac", "learner", "train", "camera")
    for section in same:
        assert len({repr(getattr(config, section)) for config in configs.values()}) == 1, section


def test_pictures_of_camera_node_reach_the_policy_on_a_driver(ros: Ros, tmp_path: Path) -> None:
    write_config(tmp_path / "short.yaml", CAMERAS)
    urgent(ros.start(str(STAND_INS / "trajectory_controller.py"), {"start": READY, "cameras": True}))
    config, trials = train(ros, tmp_path, "ros2_control", "x")
    assert conforms(config, trials)["image"] == ("uint8", (64, 32, 3))


SHARED = ("/diagnostics", "/parameter_events", "/rosout")
"""What ROS shares between namespaces by convention."""


def test_two_robots_in_two_namespaces_do_not_hear_each_other(ros: Ros, tmp_path: Path) -> None:
    write_config(tmp_path / "short.yaml")
    probe = ros.probe()
    for side in ("left", "right"):
        urgent(ros.start(str(STAND_INS / "trajectory_controller.py"), {"start": READY}, namespace=f"/{side}"))
    sides = {
        side: ros.adopt(training(tmp_path, "ros2_control", f"run:={side}", f"namespace:={side}"))
        for side in ("left", "right")
    }
    ends: dict[str, set[str]] = {}

    def both_ended() -> bool:
        for node, namespace in probe.get_node_names_and_namespaces():
            for ask in (probe.get_publisher_names_and_types_by_node, probe.get_subscriber_names_and_types_by_node):
                try:
                    ends.setdefault(namespace, set()).update(topic for topic, _ in ask(node, namespace))
                except RuntimeError:  # it ended meanwhile
                    continue
        return all(process.poll() is not None for process in sides.values())

    ros.until(both_ended, "the end of both runs", 4 * DEADLINE)
    said = {side: process.communicate()[0] for side, process in sides.items()}
    boots = set()
    for side, process in sides.items():
        assert process.returncode == 0, said[side]
        config, trials = trials_of(tmp_path, side)
        conforms(config, trials)
        assert {trial.meta.id.run for trial in trials} == {side}
        assert all(str(trial.meta.id).startswith(f"wx250s-{side}-") for trial in trials)
        boots |= {trial.meta.id.boot for trial in trials}
        assert {f"/{side}/{name}" for name in ("image", "action", "gate_state", "trials")} <= ends[f"/{side}"]
        assert [topic for topic in ends[f"/{side}"] if not topic.startswith((f"/{side}/", *SHARED))] == []
        assert (tmp_path / "runs" / side / "spool" / "ledger.jsonl").is_file()
        ledger = (tmp_path / "runs" / side / "spool" / "ledger.jsonl").read_text()
        assert f"wx250s-{side}-" in ledger
        assert f"wx250s-{({'left', 'right'} - {side}).pop()}-" not in ledger
    assert len(boots) >= 2
