"""Resets by a person over real DDS: a scripted RViz from outside, with processes; the run waits and goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meld_core.config import Config
from meld_core.replay import Replay
from meld_core.schedule import Schedule
from meld_core.sim.arm import NOMINAL_JOINTS, arm_limits
from meld_core.storage.run_folder import RunFolder
from meld_core.types import Source
from meld_ros import conversions as msgs
from meld_ros.graph import Options, render
from meld_ros.robots.mujoco import MujocoRobot

from .conftest import DEADLINE, ROOT, Process, Ros
from .stand_ins import Listener

RVIZ = str(ROOT / "test" / "stand_ins" / "rviz_client.py")
PLACE = [0.325, 0.045, 0.080]
"""Where the person brings the tool, far from the robot's own start pose above the box [m]."""


@pytest.fixture
def small(small: Config) -> Config:
    """A busy machine delays signs of life; what is tested here is not its speed (test/faults/test_teleop_faults.py)."""
    return dataclasses.replace(small, gate=dataclasses.replace(small.gate, teleop_patience=20.0))


def teleop(config: Config, **train: Any) -> Config:
    """The same run with a person who brings the arm."""
    return dataclasses.replace(
        config,
        robot=dataclasses.replace(config.robot, reset="teleop"),
        train=dataclasses.replace(config.train, **train),
    )


def person(ros: Ros, *plan: dict[str, Any], client: str = "/rviz") -> Process:
    """A person at RViz who does this."""
    return ros.start(RVIZ, {"plan": json.dumps(plan), "client": client})


RESET = ({"until": "TELEOP", "asked": "start pose"}, {"drag": PLACE, "near": 0.004}, {"menu": "Done"})


def notes(run: RunFolder) -> list[str]:
    """What the progress line of the run was told."""
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()] if run.metrics.is_file() else []
    return [row["note"] for row in rows if row.get("note")]


def test_a_training_run_waits_for_a_person_at_rviz_and_goes_on(ros: Ros, small: Config, tmp_path: Path) -> None:
    config = teleop(small)
    run = RunFolder(tmp_path / "teleop").create(config)
    listener = Listener(ros)
    nodes = ros.start_graph("train", config, run, "robot", "reward", "trainer", "teleop", "policy")
    ros.until(lambda: listener.reports and listener.reports[-1].waits_for, "the wait for a person")
    waits_for = "a person to bring the arm to its start pose (trial 1, episode 1): reset_done"
    assert listener.reports[-1].waits_for == waits_for
    ros.until(lambda: notes(run), "the progress line")
    assert notes(run)[-1] == f"waiting for {waits_for}"
    operator = person(ros, *RESET * 4)
    ros.until(lambda: nodes["policy"].poll() is not None, "the end of the run")
    assert nodes["policy"].returncode == 0
    ros.until(lambda: operator.poll() is not None, "the end of the plan")
    assert operator.stdout is not None
    assert "plan done, 0 resets" in operator.stdout.read(), "no sequence number was missed"
    trials = Replay(run.replay).trials
    assert [len(list(trial.episodes())) for trial in trials] == [2, 2]
    for trial in trials:
        for rows in trial.episodes():
            first = trial.rows["tool_position"][rows][0]
            np.testing.assert_allclose(first, PLACE, atol=0.005)
    waited = [report.waits_for for report in listener.reports if report.waits_for]
    assert [f"(trial {trial}, episode {episode})" for trial in (1, 2) for episode in (1, 2)] == list(
        dict.fromkeys(sentence.split("pose ")[1].split(":")[0] for sentence in waited)
    )


def test_a_person_s_demonstration_enters_the_replay_as_executed(ros: Ros, small: Config, tmp_path: Path) -> None:
    """Two episodes of six steps each, commanded by a drag; the arm starts by itself."""
    train = dataclasses.replace(small.train, demonstrator="person", trials=1, demonstrations=1)
    config = dataclasses.replace(small, train=train)
    run = RunFolder(tmp_path / "shown").create(config)
    nodes = ros.start_graph("train", config, run, "robot", "reward", "trainer", "teleop", "policy")
    to_and_fro = ({"drag": [0.30, -0.09, 0.08], "for": 2.0}, {"drag": [0.30, 0.09, 0.08], "for": 2.0})
    person(ros, {"until": "TELEOP"}, *to_and_fro * 10)
    ros.until(lambda: nodes["policy"].poll() is not None, "the end of the run")
    (trial,) = Replay(run.replay).trials
    rows = trial.rows
    assert set(rows["source"]) == {int(Source.HUMAN)}
    assert len(trial) == 2 * (config.task.horizon + 1)
    for episode_rows in trial.episodes():
        actions = rows["action"][episode_rows]
        assert (actions[-1] == 0).all()
        moved = np.diff(rows["tool_position"][episode_rows].astype(np.float64), axis=0)
        asked = actions[:-1] * config.robot.step_size
        assert np.abs(asked).max() > 0.005
        np.testing.assert_allclose(moved, asked, atol=0.004)
    np.testing.assert_array_equal(rows["intended_action"], rows["action"])


@pytest.mark.parametrize("mode", ["train", "eval", "robot"])
def test_the_graph_holds_teleop_where_a_person_is_needed(small: Config, mode: str, tmp_path: Path) -> None:
    names = {p.name for p in render(mode, small, Options(folder=tmp_path))}
    assert ("teleop" in names) == (mode == "robot")
    assert "teleop" in {p.name for p in render(mode, teleop(small), Options(folder=tmp_path))}


def test_meld_teleop_moves_the_arm_of_a_graph_that_runs_here(ros: Ros, small: Config, tmp_path: Path) -> None:
    """The command as a process, keys by its standard input: take the arm, three keys forward, stop, clear the stop."""
    run = RunFolder(tmp_path / "bench").create(small)
    listener = Listener(ros)
    tool: list[np.ndarray] = []
    msgs.subscription(listener.node, msgs.TOOL_POSE, lambda msg: tool.append(msgs.pose_from_msg(msg)[0]))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    (robot,) = [p for p in render("robot", small, Options(folder=run.path)) if p.name == "robot"]
    command = [sys.executable, "-m", "meld_ros.cli", "teleop", "--run", str(run.path)]
    with (
        subprocess.Popen(robot.command, env=environment, stdout=subprocess.DEVNULL) as node,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as keyboard,
    ):
        try:
            assert keyboard.stdin is not None
            assert keyboard.stdout is not None
            listener.sees("HOLD")
            heard: list[str] = []
            threading.Thread(target=lambda: heard.extend(iter(keyboard.stdout.readline, "")), daemon=True).start()
            ros.until(lambda: any("gate: HOLD" in line for line in heard), "the keyboard's screen")
            press(keyboard, "t")
            ros.until(lambda: any("gate: TELEOP" in line and " m " in line for line in heard), "the tool on the screen")
            ros.until(lambda: tool, "the tool")
            assert tool[-1][0] < 0.24 - 0.03, "the arm begins outside the box"
            press(keyboard, "www")  # into the box at x = 0.241 m and under its top, then twice 10 mm
            ros.until(lambda: np.abs(tool[-1] - [0.261, 0.0, 0.094]).max() < 0.003, "the tool in the box")
            press(keyboard, " ")
            listener.sees("STOPPED")
            press(keyboard, "c")
            listener.sees("HOLD")
            press(keyboard, "w")
            ros.until(lambda: any("the arm is not yours to move" in line for line in heard), "the refusal")
            press(keyboard, "q")
            assert keyboard.wait(timeout=DEADLINE) == 0
        finally:
            for process in (keyboard, node):
                process.kill()


def press(keyboard: Process, keys: str) -> None:
    """Press keys, one after the other."""
    assert keyboard.stdin is not None
    keyboard.stdin.write(keys)
    keyboard.stdin.flush()


def test_a_person_s_episode_begins_where_the_arm_is_and_a_moved_box_finds_the_arm_elsewhere(
    small: Config,
) -> None:
    """As for a real bench: whoever moves the box has taken the plug out of it."""
    robot = MujocoRobot(small)
    robot.connect()
    try:
        robot.set_task(Schedule(small).plan(0).task)
        robot.begin_here(False)
        first = robot.observe()
        assert first.joints.tolist() == list(NOMINAL_JOINTS)
        assert first.tool_position[2] > arm_limits(small).workspace_upper[2], "above the box"
        robot.apply(np.array([0.0, 0.0, -1.0], np.float32))
        robot.wait()
        moved = robot.observe()
        robot.begin_here(True)
        assert robot.observe().joints.tolist() == moved.joints.tolist()
        assert robot.observe().stamp == moved.stamp + round(small.robot.control_period * 1e9)
        robot.park()
        assert robot.observe().joints.tolist() == list(small.driver.rest_joints)
    finally:
        robot.close()
