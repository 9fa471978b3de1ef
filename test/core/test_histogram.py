"""Histogram, by hand: edges are 10 us times a power of the eighth root of 2."""

from __future__ import annotations

import pytest

from meld_core.histogram import EDGES, Histogram


def test_an_empty_one_says_nothing() -> None:
    assert Histogram().summary() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}


def test_edges_double_every_eight_bins() -> None:
    assert EDGES[0] == 1e-5
    assert EDGES[8] == pytest.approx(2e-5)
    assert EDGES[80] == pytest.approx(1024e-5)
    assert EDGES[-1] >= 100.0


def test_quantiles_are_upper_edges_of_bins() -> None:
    histogram = Histogram()
    for _ in range(98):
        histogram.add(1.9e-5)  # between 1e-5 * 2^(7/8) = 1.834e-5 and 2e-5
    histogram.add(3e-5)  # below 1e-5 * 2^(13/8) = 3.084e-5
    histogram.add(0.5)
    assert histogram.quantile(0.5) == pytest.approx(2e-5)
    assert histogram.quantile(0.98) == pytest.approx(2e-5)
    assert histogram.quantile(0.99) == pytest.approx(3.0844e-5, rel=1e-4)
    assert histogram.quantile(1.0) == 0.5  # its bin reaches further; no duration did
    assert str(histogram) == "p50 0.02, p95 0.02, p99 0.03, max 500.00"


def test_what_is_beyond_all_bins_is_counted() -> None:
    histogram = Histogram()
    for seconds in (0.0, 1e9):
        histogram.add(seconds)
    assert (histogram.count, histogram.quantile(0.5), histogram.quantile(1.0)) == (2, 1e-5, 1e9)
