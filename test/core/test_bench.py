"""`meld bench`: every subject runs in its tiny form; table, file and exit code."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meld_core.bench import figures
from meld_core.bench.figures import Figure, Goal, Samples, Setup, interleaved, median_ratio, timed
from meld_core.config import load_config
from meld_ros.cli import main
from meld_ros.commands import bench

NEEDS_ROS_OR_MINUTES = {"graph", "durability", "soak"}
"""graph: test/ros/test_bench.py; durability: test/faults/test_data.py; soak: test/faults/test_soak.py."""


@pytest.mark.parametrize("subject", sorted(set(bench.SUBJECTS) - NEEDS_ROS_OR_MINUTES))
def test_every_subject_runs(subject: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    assert main(["bench", subject, "--quick", "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    numbers = {name: value for name, value in written.items() if isinstance(value, int | float)}
    assert all(name.startswith(f"{subject}.") for name in written)
    assert len(numbers) >= 3
    assert all(np.isfinite(value) for value in numbers.values()), numbers
    assert "measured" in capsys.readouterr().out


def two_figures(setup: Setup) -> Iterator[Figure]:
    setup.tell("at work")
    yield Figure(what="a thing", unit="ms", median=2.0, p99=3.0, ratio_to_peer=4.5, values={"fake.p50_ms": 2.0})
    kept = Goal(text="none", met=setup.seed == 0, promise=True)
    yield Figure(what="losses", unit="", median=float(setup.seed), values={"fake.lost": setup.seed}, goal=kept)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "measure", two_figures, raising=False)
    monkeypatch.setitem(bench.SUBJECTS, "fake", "meld_core.bench.figures:measure")


def test_the_table_shows_what_the_file_keeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    path.write_text('{"other.p50_ms": 7.0, "fake.gone": 1.0}')
    assert main(["bench", "fake", "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert (written["other.p50_ms"], written["fake.p50_ms"], written["fake.lost"]) == (7.0, 2.0, 0)
    assert "fake.gone" not in written
    assert written["fake.command"] == f"meld bench fake --json {path}"
    captured = capsys.readouterr()
    row = next(line for line in captured.out.splitlines() if "a thing" in line)
    assert row.replace("│", " ").split() == ["a", "thing", "ms", "2", "3", "4.5"]
    assert "none: met" in captured.out
    assert "fake: at work" in captured.err


def test_a_broken_promise_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "fake", "--seed", "1"]) == 1
    assert "none: missed" in capsys.readouterr().out


def test_another_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"mine": 1}')
    assert main(["bench", "fake", "--json", str(path)]) == 2
    assert "holds no figures of meld bench" in capsys.readouterr().err
    assert path.read_text() == '{"mine": 1}'


def test_quantiles_are_linear_between_neighbours() -> None:
    samples = Samples(np.array([4.0, 1.0, 3.0, 2.0]))
    assert samples.median == 2.5
    assert samples.quantile(0.99) == pytest.approx(3.97)  # 3 + 0.97: rank 0.99 * 3 = 2.97


def test_things_are_measured_by_turns() -> None:
    order: list[str] = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert len(found["a"].values) == 3
    assert len(timed(lambda: order.append("c"), 4, warm_up=2).values) == 4
    assert order.count("c") == 6


def test_a_ratio_is_that_of_pairs() -> None:
    assert median_ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == 3.0  # of 2, 3, 4


def test_an_exponent_is_a_slope_of_logarithms() -> None:
    from meld_core.bench.growth import exponent

    assert exponent([1, 2, 4], [3.0, 6.0, 12.0]) == pytest.approx(1.0)
    assert exponent([1, 10, 100], [5.0, 5.0, 5.0]) == pytest.approx(0.0)


def test_a_long_run_compares_its_first_and_its_last_part() -> None:
    """100 ticks in twenty parts; who keeps 3 MB per tick, 15 MB a part, is found out: 285 MB from first to last.

    Pages of their own: what the heap hands out may be room that was there already.
    """
    from meld_core.bench.tick import Ticker, long_run

    told: list[str] = []
    tick, kept = Ticker(load_config(overrides=["sim.image_size=32", "model.shrink=1"])), list[mmap.mmap]()

    def leaking() -> object:
        kept.append(mmap.mmap(-1, 3 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        kept[-1].write(bytes([1]) * len(kept[-1]))
        return tick()

    (sound,) = long_run(tick, 100, "default", told.append)
    (leaky,) = long_run(leaking, 100, "64x128, onnx", told.append)
    assert (sound.values["tick.long_run_ticks"], len(told)) == (100, 40)
    assert sound.values["tick.long_run_p50_ms_last"] > 0
    assert leaky.values["tick.64x128.onnx.long_run_ticks"] == 100
    assert leaky.median == pytest.approx(285, rel=0.15)
    assert leaky.goal is not None
    assert not leaky.goal.met
