"""Scoring: first attempt, success and steps on trials made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scored_trials import told_trial, two_episodes

from meld_core.evaluation.scoring import (
    EpisodeScore,
    Evaluation,
    episode_scores,
    episode_statistics,
    first_success_statistics,
    score_trial,
    trial_summary,
)
from meld_core.types import Source

NO, YES = False, True


def test_wrong_port_first_is_a_success_but_no_first_attempt() -> None:
    trial = told_trial([[-1, -1, 2, 2, -1, 1]], [[NO, NO, NO, NO, NO, YES]])
    assert score_trial(trial) == (EpisodeScore(YES, YES, 5, 5, (2, 1), first_attempt=NO),)


def test_live_port_first_is_a_first_attempt_even_without_success() -> None:
    trial = told_trial([[-1, 1, -1, 0]], [[NO, NO, NO, NO]])
    assert score_trial(trial) == (EpisodeScore(NO, NO, 3, None, (1, 0), first_attempt=YES),)


def test_no_entry_is_a_failed_first_attempt() -> None:
    assert score_trial(told_trial([[-1, -1, -1]], [[NO, NO, NO]]))[0].first_attempt is False


def test_each_episode_has_its_own_first_attempt() -> None:
    first, second = score_trial(two_episodes(first=True, second=True))
    assert (first.first_attempt, first.steps_to_success) == (False, 3)
    assert (second.first_attempt, second.steps_to_success) == (True, 2)


@pytest.mark.parametrize("truth", [NO, YES])
def test_truth_judges_and_the_detector_stands_beside_it(truth: bool) -> None:
    score = score_trial(told_trial([[-1, 1, 1]], [[NO, NO, truth]], detected=not truth))[0]
    assert (score.success, score.detected) == (truth, not truth)


def test_fixed_length_episode_counts_its_first_success() -> None:
    score = score_trial(told_trial([[-1, 1, 1, 1, 1]], [[NO, NO, YES, NO, YES]]))[0]
    assert (score.steps, score.steps_to_success) == (4, 2)


def test_without_truth_the_detector_judges_and_first_attempt_is_unknown() -> None:
    trial = dataclasses.replace(told_trial([[-1, 1, 1]], [[NO, NO, YES]]), truth={})
    assert score_trial(trial) == (EpisodeScore(YES, YES, 2, 2, (), first_attempt=None),)


def test_statistics_of_an_episode_by_hand() -> None:
    """4 trials: successes after 5 and 9 steps, one failure, one missing; horizon 20: mean (5+9+20+20)/4.

    Wilson for 2 of 4: 1/2 ± z / (2 sqrt(4 + z²)) = .5 ± .349961.
    """
    scores = [
        (EpisodeScore(YES, YES, 5, 5, (1,), YES),),
        (EpisodeScore(YES, NO, 9, 9, (2, 1), NO),),
        (EpisodeScore(NO, NO, 20, None, (), NO),),
        (),
    ]
    numbers = episode_statistics(episode_scores(scores, 0), horizon=20)
    assert (numbers["successes"], numbers["trials"], numbers["rate"]) == (2, 4, 0.5)
    assert numbers["wilson95"] == pytest.approx([0.150039, 0.849961], abs=1e-6)
    assert (numbers["detected_successes"], numbers["first_attempts"], numbers["first_attempt_rate"]) == (1, 1, 0.25)
    assert numbers["no_port_entered"] == 2
    assert numbers["median_steps_to_success"] == 7
    assert numbers["mean_steps_failures_as_horizon"] == 13.5


def test_statistics_without_any_success_have_no_median() -> None:
    numbers = episode_statistics([EpisodeScore(NO, NO, 20, None, (), NO)], horizon=20)
    assert numbers["median_steps_to_success"] is None
    assert numbers["mean_steps_failures_as_horizon"] == 20


def test_outcomes_are_per_task_and_a_missing_episode_fails() -> None:
    both, aborted = score_trial(two_episodes(first=True, second=True)), score_trial(two_episodes(True, True))[:1]
    evaluation = Evaluation("held_out", "", 0, 2, 40, True, False, 3, "", 9, (both, aborted))
    assert evaluation.outcomes("success", 0) == [True, True]
    assert evaluation.outcomes("success", 1) == [True, False]
    assert evaluation.outcomes("first_attempt", 1) == [True, False]
    assert (evaluation.belief, evaluation.has_truth) == ("carried", True)


def test_summary_of_a_trial() -> None:
    assert trial_summary(two_episodes(first=True, second=True, counter=12)) == {
        "trial": 12,
        "source": "policy",
        "success": [True, True],
        "detected": [True, True],
        "first_attempt": [False, True],
        "steps_to_success": [3, 2],
        "episode_steps": [3, 2],
        "weights_version": 4,
        "aborted": "",
    }


def test_source_is_mixed_where_a_person_took_over() -> None:
    trial = two_episodes(first=True, second=True)
    source = np.array([0, 0, 2, 2, 0, 0, 0], np.uint8)
    taken = dataclasses.replace(trial, rows={**trial.rows, "source": source})
    scripted = dataclasses.replace(trial, rows={**trial.rows, "source": np.full(7, Source.SCRIPT, np.uint8)})
    assert trial_summary(taken)["source"] == "mixed"
    assert trial_summary(scripted)["source"] == "script"


def test_robot_time_to_the_first_success_counts_failed_episodes_before_it() -> None:
    """2 steps; 3 failed steps and 1; never: median and mean of 2 and 4 steps, at a quarter of a second each."""
    at_once = told_trial([[-1, 1, 1], [-1, 1]], [[NO, NO, YES], [NO, YES]])
    later = told_trial([[-1, 0, 0, 0], [-1, 1]], [[NO, NO, NO, NO], [NO, YES]])
    never = told_trial([[-1, 0], [-1, 0]], [[NO, NO], [NO, NO]])
    found = first_success_statistics([score_trial(trial) for trial in (at_once, later, never)], 0.25)
    assert found["episodes"] == {"1": 1, "2": 1, "never": 1}
    assert (found["trials"], found["median_steps"], found["mean_steps"]) == (3, 3.0, 3.0)
    assert (found["median_seconds"], found["mean_seconds"]) == (0.75, 0.75)
    assert first_success_statistics([score_trial(never)], 0.25)["median_seconds"] is None
