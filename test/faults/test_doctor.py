"""`meld doctor` as a person calls it: nothing is found on a healthy graph, and each of doctor_mistakes.py by its name.

Real processes over real DDS: drivers are the stand-ins, nodes are ours. A mistake gives its finding and no other, so
that a cause is not buried under its consequences.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from test.faults.doctor_bench import QUIET, Bench, camera
from test.faults.doctor_mistakes import MISTAKES
from test.ros.conftest import Ros


@pytest.fixture
def bench(ros: Ros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(ros, tmp_path, monkeypatch)


def test_a_healthy_simulated_graph(bench: Bench) -> None:
    bench.settle("mujoco")
    bench.graph("train")
    said = bench.doctor("--mode", "train", patience=40.0)
    assert said["findings"] == []
    assert said["facts"]["nodes heard"] == "policy, reward, robot, trainer of robot, reward, trainer, policy"


def test_a_healthy_graph_on_a_driver(bench: Bench) -> None:
    bench.settle("ros2_control", QUIET)
    bench.stand_in()
    bench.graph("train")
    assert bench.doctor("--mode", "train", patience=40.0)["findings"] == []


def test_a_healthy_bench_with_camera_node(bench: Bench) -> None:
    camera(bench)
    bench.stand_in(image_every=1000000)
    bench.camera("bench/image")
    bench.graph()
    assert bench.doctor("--mode", "robot", patience=40.0)["findings"] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_named_and_nothing_else(bench: Bench, mistake: str) -> None:
    make, name = MISTAKES[mistake]
    findings = make(bench)["findings"]
    assert [finding["name"] for finding in findings] == [name], findings
    assert all(finding["found"] and finding["remedy"] for finding in findings)


def test_at_least_twenty_mistakes() -> None:
    assert len(MISTAKES) >= 20
