"""Metrics: intervals by hand, rows that survive kills and resumes, one owner."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meld_core.evaluation.intervals import effective_size, paired_difference
from meld_core.evaluation.scoring import rate
from meld_core.metrics import METRICS_FILE, MetricsError, MetricsWriter, RunningMean, Tail, plain, read_rows, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.490162, 0.943318),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (166, 200, 0.771841, 0.875721),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval_matches_hand_computation(successes: int, n: int, low: float, high: float) -> None:
    """(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-5)


def test_wilson_with_a_round_quantile() -> None:
    """z=2, 1 of 4: (.25 + .5 ± 2 sqrt(.1875/4 + 4/64)) / 2 = (.75 ± .661438) / 2."""
    assert wilson(1, 4, z=2.0) == pytest.approx(((0.75 - 0.6614378) / 2, (0.75 + 0.6614378) / 2))


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0.0 <= low <= counts[0] / counts[1] <= high <= 1.0


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        wilson(successes, n)


def test_trials_on_the_same_tasks_count_as_far_as_they_differ() -> None:
    """Two seeds on four tasks: 11, 10, 10, 00. Off the mean .5 by task: 1, 0, 0, -1; variance of the mean between tasks
    (1 + 1) 4/3 / 8^2 = 1/24, of a trial 1/4: as good as 6 trials. Seeds that always agree: 4. That never do: all 8.
    """
    tasks = ["a", "a", "b", "b", "c", "c", "d", "d"]
    mixed = [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert effective_size(mixed, tasks) == pytest.approx(6.0)
    assert effective_size([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], tasks) == pytest.approx(4.0)
    assert effective_size([1.0, 0.0] * 4, tasks) == 8.0
    assert effective_size([1.0] * 8, tasks) == 4.0
    assert effective_size(mixed, range(8)) == 8.0
    found = rate([hit > 0.5 for hit in mixed], tasks)
    assert (found["successes"], found["trials"], found["rate"]) == (4, 8, 0.5)
    assert found["wilson95"] == pytest.approx(wilson(3, 6))
    both = [True, True, False, False] * 2  # ours; the control succeeds nowhere: the difference is the rate itself
    pair = paired_difference(both, [False] * 8, tasks=tasks)
    assert pair.difference == 0.5
    assert pair.interval95 == pytest.approx(paired_difference([True, True, False, False], [False] * 4).interval95)


def test_paired_difference_matches_the_published_example() -> None:
    """Newcombe 1998, table II, 36/12/2/0: difference .2, method 10 gives .0569 to .3404."""
    ours = [True] * 36 + [True] * 12 + [False] * 2
    control = [True] * 36 + [False] * 12 + [True] * 2
    pair = paired_difference(ours, control)
    assert (pair.both, pair.only_ours, pair.only_control, pair.neither) == (36, 12, 2, 0)
    assert pair.difference == pytest.approx(0.2)
    assert pair.interval95 == pytest.approx((0.0569, 0.3404), abs=1e-4)
    assert pair.mcnemar_p == pytest.approx(2 * (1 + 14 + 91) / 2**14)


def test_paired_difference_of_equal_series_includes_zero() -> None:
    pair = paired_difference([True, False, True], [True, False, True])
    assert pair.difference == 0.0
    assert pair.interval95[0] < 0.0 < pair.interval95[1]
    assert pair.mcnemar_p == 1.0
    assert not pair.excludes


def test_excludes_needs_separate_intervals_in_our_favour() -> None:
    always, never = [True] * 20, [False] * 20
    assert paired_difference(always, never).excludes
    assert not paired_difference(never, always).excludes
    barely = paired_difference([True] * 48 + [False] * 2, [True] * 36 + [False] * 12 + [True] * 2)
    assert barely.interval95[0] > 0.0
    assert barely.wilson_apart == (wilson(48, 50)[0] > wilson(38, 50)[1])


def test_pairs_need_equal_length() -> None:
    with pytest.raises(ValueError, match="same tasks, got 1 and 2"):
        paired_difference([True], [True, False])


def test_row_is_one_json_line_with_null_for_nan(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write("trial", trial=3, steps=np.int64(41), success=[True, None])
        writer.write("learner", trial=3, **{"critic/loss": torch.tensor(float("nan")), "model/kl": np.float32(0.5)})
    first, second = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert first.pop("time") > 0
    assert first == {"kind": "trial", "trial": 3, "steps": 41, "success": [True, None]}
    assert second["critic/loss"] is None
    assert second["model/kl"] == 0.5


def test_resume_appends_and_cuts_off_a_half_written_line(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write("trial", trial=0, steps=10)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"kind": "trial", "tri')
    with MetricsWriter(tmp_path, tensorboard=False) as writer:
        writer.write("trial", trial=1, steps=20)
        writer.write("trial", trial=0, steps=11)
    assert [(row["trial"], row["steps"]) for row in read_rows(tmp_path, "trial")] == [(0, 11), (1, 20)]


def test_second_owner_is_refused(tmp_path: Path) -> None:
    with (
        MetricsWriter(tmp_path, tensorboard=False),
        pytest.raises(MetricsError, match="being written by another process"),
    ):
        MetricsWriter(tmp_path, tensorboard=False)
    MetricsWriter(tmp_path, tensorboard=False).close()


def test_tensorboard_gets_the_same_numbers_at_the_runs_steps(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsWriter(tmp_path) as writer:
        writer.write("trial", trial=0, steps=30, success=[False, True])
        writer.write("learner", trial=0, **{"critic/loss": 0.25})
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in board.Scalars("trial/success_episode_2")] == [(30, 1.0)]
    assert [(e.step, e.value) for e in board.Scalars("critic/loss")] == [(30, 0.25)]


def test_tail_yields_each_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"kind": "status", "phase": "a"}\nnot json\n[1]\n{"kind": "sta')
    assert [row["phase"] for row in tail.read()] == ["a"]
    assert tail.read() == []
    with path.open("a") as file:
        file.write('tus", "phase": "b"}\n')
    assert [row["phase"] for row in tail.read()] == ["b"]


def test_running_mean_leaves_out_what_is_not_finite() -> None:
    mean = RunningMean()
    mean.add({"a": 1.0, "b": float("nan")})
    mean.add({"a": torch.tensor(4.0)})
    assert mean.take() == {"a": 2.5}
    assert mean.take() == {}


def test_plain_reaches_into_lists_and_mappings() -> None:
    value = {"x": [np.float32(1.5), float("inf")], "y": np.array([1, 2]), "z": {"t": torch.tensor(3)}}
    assert plain(value) == {"x": [1.5, None], "y": [1, 2], "z": {"t": 3}}
