"""Trials are converted when they are first drawn, each once, and drawn as their shares say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from meld_core import known_trials
from meld_core.bench.data import demonstrations
from meld_core.config import Config, load_config
from meld_core.known_trials import KnownTrials
from meld_core.types import Source, Trial


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(overrides=["learner.demonstration_share=0.25", "task.horizon=6"])


@pytest.fixture(scope="module")
def shown(config: Config) -> Trial:
    return demonstrations(config, 1)[0]


def acted(shown: Trial) -> Trial:
    """The same rows, said to be the policy's."""
    source = np.full(len(shown), int(Source.POLICY), np.uint8)
    return dataclasses.replace(shown, rows={**shown.rows, "source": source})


def test_each_is_converted_once_and_only_when_it_is_drawn(
    config: Config, shown: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = []
    real = known_trials.learner_trial
    monkeypatch.setattr(known_trials, "learner_trial", lambda *given: converted.append(1) or real(*given))
    known = KnownTrials(config)
    for _ in range(5):
        known.add(shown)
    assert (len(known), len(converted)) == (5, 0)
    drawn = list(known.draw(40, np.random.default_rng(0)))
    assert len({id(trial) for trial in drawn}) == len(converted) == 5


def test_a_quarter_are_demonstrations_where_there_are_both(config: Config, shown: Trial) -> None:
    rng = np.random.default_rng(0)
    known = KnownTrials(config)
    known.add(shown)
    assert [trial.demonstration for trial in known.draw(4, rng)] == [True] * 4
    known.add(acted(shown))
    assert [trial.demonstration for trial in known.draw(8, rng)] == [True] * 2 + [False] * 6


def test_one_number_is_drawn_for_each_when_it_is_asked_for(config: Config, shown: Trial) -> None:
    """Whoever draws others in between gets the same sequence whatever the count."""
    known = KnownTrials(config)
    for _ in range(3):
        known.add(shown)
    rng, same = np.random.default_rng(7), np.random.default_rng(7)
    drawing = known.draw(2, rng)
    next(drawing)
    same.integers(3)
    assert rng.random() == same.random()
    next(drawing)
    same.integers(3)
    assert rng.random() == same.random()
