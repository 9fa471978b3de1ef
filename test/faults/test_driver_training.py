"""The whole graph on a driver-backed robot: only `robot:=` differs from a simulated run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meld_core.replay import Replay
from test.faults.driver_bench import READY, SCRIPTS, STAND_INS
from test.ros.conftest import ROOT, Ros

SETTINGS = """
task: {horizon: 6}
driver: {stale_after: 2.0, connect_timeout: 60.0, reset_speed: 1.5, park_speed: 1.5}
gate: {policy_lease: 5.0, max_age: 5.0}
train: {trials: 2, demonstrations: 1}
"""


@pytest.mark.parametrize("kind", ["ros2_control", "widowx"])
def test_two_trials_are_trained_on_a_driver(
    ros: Ros, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """A scripted trial and one of the policy, with the weights that the trainer made of the first."""
    if kind == "widowx":
        request.getfixturevalue("xs_messages")
    smoke = (ROOT / "config" / "smoke.yaml").read_text().replace("  horizon: 6\n", "").replace("task:\n", "")
    smoke = smoke.replace("train:\n  trials: 4\n  demonstrations: 2\n  checkpoint_every: 2\n", "")
    (tmp_path / "short.yaml").write_text(smoke + SETTINGS)
    ros.start(str(STAND_INS / f"{SCRIPTS[kind]}.py"), {"start": READY})
    command = [
        sys.executable,
        "-m",
        "meld_ros.cli",
        "launch",
        "train",
        f"robot:={kind}",
        "config:=short.yaml",
        "run:=x",
    ]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=270
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = [trial for trial in Replay(tmp_path / "runs" / "x" / "replay").trials if not trial.meta.aborted]
    assert [trial.meta.id.counter for trial in trials] == [0, 1]
    assert [trial.meta.weights_version >= 0 for trial in trials] == [False, True]
    for trial in trials:
        assert not trial.meta.simulated
        assert trial.truth == {}
        rows = trial.rows
        assert rows["image"].shape[1:] == (64, 32, 3)
        assert rows["reward_valid"].all()
        assert (np.diff(rows["stamp"]) > 0).all()
        assert len(list(trial.episodes())) == 2
        moved = np.linalg.norm(np.diff(rows["tool_position"], axis=0), axis=1)
        assert 0.002 < moved.max() < 0.1
