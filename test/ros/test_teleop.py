"""Resets by a person over real DDS: a scripted RViz from outside, with processes; the run waits and goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meld_core.config import Config
from meld_core.replay import Replay
from meld_core.storage.run_folder import RunFolder
from meld_core.types import Source

from .conftest import ROOT, Process, Ros
from .stand_ins import Listener

RVIZ = str(ROOT / "test" / "stand_ins" / "rviz_client.py")
PLACE = [0.325, 0.045, 0.080]
"""Where the person brings the tool, far from the robot's own start pose above the box [m]."""


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


RESET = ({"until": "TELEOP"}, {"drag": PLACE, "near": 0.004}, {"menu": "Done"}, {"until": "POLICY"})


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
    from meld_ros.graph import Options, render

    names = {p.name for p in render(mode, small, Options(folder=tmp_path))}
    assert ("teleop" in names) == (mode == "robot")
    assert "teleop" in {p.name for p in render(mode, teleop(small), Options(folder=tmp_path))}
