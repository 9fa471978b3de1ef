"""The soak: the whole graph, and nothing grows. `meld bench soak --hours 8` is the long form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ..ros.conftest import ROOT

HOURS = float(os.environ.get("MELD_SOAK_HOURS", "0.2"))
"""In 12 minutes the interval of the trainer's slope is some 15 MB/h wide on either side, which can tell 0 from 30; in 8
minutes it is twice as wide."""


def test_33_memory_handles_and_threads_stay_flat_and_nothing_is_lost(tmp_path: Path) -> None:
    figures = tmp_path / "soak.json"
    command = [sys.executable, "-m", "meld_ros.cli", "bench", "soak", "--hours", str(HOURS), "--json", str(figures)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, cwd=tmp_path,
        capture_output=True, text=True, timeout=3600 * HOURS + 400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    found = json.loads(figures.read_text())
    for node in ("policy", "trainer", "robot", "reward", "supervisor"):
        assert found[f"soak.{node}.slope_high_mb_per_hour"] < 30.0
    assert (found["soak.lost"], found["soak.duplicated"], found["soak.damaged_files"]) == (0, 0, 0)
    assert found["soak.trials"] > 20
