"""A slope with its interval, and whether a count has moved up."""

from __future__ import annotations

import numpy as np
import pytest

from meld_core.bench.trend import rises, trend


def test_a_straight_line_has_its_slope_and_no_width() -> None:
    times = np.linspace(0.0, 2.0, 240)
    found = trend(times, 100.0 + 7.0 * times)
    assert found.slope == pytest.approx(7.0)
    assert (found.low, found.high) == (pytest.approx(7.0), pytest.approx(7.0))


def test_the_interval_covers_the_true_slope_as_often_as_it_says() -> None:
    """Noise that wanders: each sample is 0.9 of the one before and something new. 200 series of 1200 samples."""
    rng, times, hits = np.random.default_rng(0), np.linspace(0.0, 0.33, 1200), 0
    for _ in range(200):
        noise = rng.normal(size=1200)
        for i in range(1, 1200):
            noise[i] += 0.9 * noise[i - 1]
        found = trend(times, 5.0 * times + noise)
        hits += found.low <= 5.0 <= found.high
    assert hits >= 180  # 190 are expected; the blocks are long against the ten samples that noise lasts


def test_a_block_without_samples_is_said() -> None:
    with pytest.raises(ValueError, match="leave one of 12 blocks empty"):
        trend([0.0, 1.0, 2.0], [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("counts", "grown"),
    [([23] * 40, False), ([23, 24] * 20, False), ([23] * 20 + [24] * 20, True), ([25] * 10 + [23] * 30, False)],
)
def test_a_count_rises_when_it_has_moved_up_for_good(counts: list[int], grown: bool) -> None:
    assert rises(counts) is grown
