"""Figures of `meld bench safety`, and docs/SAFETY.md, which says what was measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from meld_core.bench.figures import BenchError, Figure, Setup
from meld_ros.commands import safety

ROOT = Path(__file__).resolve().parents[2]


def played(fault: str, stop: float | None, limit: float | None, **different: Any) -> dict[str, Any]:
    line = {"fault": fault, "stop": stop, "rest": 0.4, "stall": 0.01, "limit": limit, "unsafe": 0, "complaints": []}
    return line | different


LINES = [
    {"scenario": "lost", "number": 1, "what": "the policy dies", "promise": "HOLD within 200 ms"},
    *(played("lost", 0.1 + 0.01 * i, 0.2) for i in (2, 0, 1)),
    {"scenario": "killed", "number": 26, "what": "the gate dies", "promise": "the arm rests"},
    played("killed", None, 0.6, complaints=["3 samples: too fast"], unsafe=3),
    {"scenario": "fast", "number": 5, "what": "ten times", "promise": "clamped"},
    played("fast", None, None),
    played("lost", 0.15, 0.2, soak=True, unsafe=2, complaints=["2 samples: too fast"]),
    played("nothing", None, None, soak=True, unsafe=1, complaints=["1 samples: too fast"]),
    {"minutes": 2.0, "samples": 12000, "cleared": 0, "memory": 150.04},
]


def figures() -> dict[str, Figure]:
    return {figure.what: figure for figure in safety.figures_of(LINES)}


def test_stop_times_are_the_driver_s_and_unsafe_samples_are_added_up() -> None:
    lost = figures()["the policy dies"]
    assert (lost.median, lost.p99) == (110.0, 120.0)
    assert lost.values["safety.lost.stop_ms"] == 110.0
    assert lost.values["safety.lost.stop_ms_max"] == 120.0
    assert lost.values["safety.lost.limit_ms"] == 200.0
    assert lost.values["safety.lost.repetitions"] == 3
    assert lost.values["safety.lost.unsafe_samples"] == 0
    assert lost.goal is not None
    assert lost.goal.met


def test_where_nobody_holds_the_time_is_that_of_rest_and_an_objection_breaks_the_promise() -> None:
    killed = figures()["the gate dies"]
    assert (killed.median, killed.values["safety.killed.unsafe_samples"]) == (400.0, 3)
    assert killed.goal is not None
    assert killed.goal.promise
    assert not killed.goal.met


def test_a_fault_that_stops_nothing_has_no_time() -> None:
    assert "safety.fast.stop_ms" not in figures()["ten times"].values


def test_a_soak_counts_what_happened_between_faults_too() -> None:
    soak = figures()["2 minutes of random faults"]
    assert soak.values["safety.soak.unsafe_samples"] == 3
    assert soak.values["safety.soak.faults"] == 1
    assert soak.goal is not None
    assert not soak.goal.met


def test_without_a_checkout_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "share_dir", lambda: tmp_path)
    with pytest.raises(BenchError, match="needs a source checkout"):
        next(safety.measure(Setup()))


def test_the_page_is_what_the_generator_makes_of_the_figures(tmp_path: Path) -> None:
    generator = runpy.run_path(str(ROOT / "tools" / "safety.py"))
    path = ROOT / "benchmarks" / "safety.json"
    assert (ROOT / "docs" / "SAFETY.md").read_text() == generator["page"](generator["read_figures"](path))
    other = json.loads(path.read_text()) | {"safety.policy_killed.stop_ms": 12345.0}
    (tmp_path / "other.json").write_text(json.dumps(other))
    assert "| 12345 |" in generator["page"](generator["read_figures"](tmp_path / "other.json"))


def test_every_fault_was_measured_and_unsafe_samples_are_not_passed_over() -> None:
    figures = json.loads((ROOT / "benchmarks" / "safety.json").read_text())
    unsafe = {name: count for name, count in figures.items() if name.endswith(".unsafe_samples")}
    assert len(unsafe) == 20
    page = (ROOT / "docs" / "SAFETY.md").read_text()
    assert ("Not every unsafe sample is 0" in page) == any(unsafe.values())
