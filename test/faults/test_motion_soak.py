"""The short form of the soak: two minutes of random faults on one arm. The long one: `meld bench safety --soak 30`."""

from __future__ import annotations

import json
import subprocess
import sys

from test.faults.test_process_faults import environment
from test.ros.conftest import ROOT


def test_two_minutes_of_random_faults_without_an_unsafe_sample() -> None:
    command = [sys.executable, "-m", "test.faults.measure", "--soak", "2", "--every", "8", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    *faults, end = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"{len(faults)} faults, {end['samples']} samples, robot_node {end['memory']:.0f} MB")
    assert len(faults) >= 3
    assert end["samples"] > 2000
    assert [(fault["fault"], fault["complaints"]) for fault in faults if fault["unsafe"]] == []
