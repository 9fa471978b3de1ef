"""`meld bench graph` in its tiny form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_graph_is_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "meld_ros.cli", "bench", "graph", "--quick", "--json", str(figures)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert all(found[f"graph.{name}_steps_per_s"] > 0 for name in ("ring", "compute", "lockstep"))
    assert all(found[f"graph.{node}.peak_rss_mb"] > 50 for node in ("robot", "reward", "trainer", "policy"))
    assert 0.0 <= found["graph.realtime_20hz_deadline_miss_rate"] <= 1.0
    assert (
        found["graph.realtime_20hz_steps"] >= 80 - 16
    )  # five trials of two episodes of eight, less what was broken off
    assert found["graph.realtime_20hz_total_p50_ms"] >= found["graph.realtime_20hz_infer_p50_ms"] > 0
