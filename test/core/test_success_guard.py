"""SuccessGuard: averages by hand; who counts; what the learner goes back to."""

import numpy as np
import pytest
from trial_builder import trial_of, with_rows

from meld_core.sections.storage import RollbackConfig
from meld_core.trust.success_guard import SuccessGuard, success_of
from meld_core.types import Source

CONFIG = RollbackConfig(window=4, drop=0.5)


def fed(outcomes, first=0, guard=None, version=0):
    guard = guard or SuccessGuard(CONFIG)
    for i, outcome in enumerate(outcomes, first):
        guard.add(trial_of(i, success=bool(outcome), weights_version=version))
    return guard


def test_success_is_the_share_of_successful_episodes():
    assert success_of(trial_of()) == 1.0
    assert success_of(trial_of(success=False)) == 0.0
    half = trial_of()
    success = half.rows["success"].copy()
    success[3] = False  # the last row of the first episode
    assert success_of(with_rows(half, success=success)) == 0.5


@pytest.mark.parametrize(
    ("outcomes", "best_at", "fallen"),
    [
        ([1, 1, 1], -1, False),  # the window is not full
        ([1, 1, 1, 1, 0, 0], 3, False),  # 1.0, .75, .5: not more than .5 below
        ([1, 1, 1, 1, 0, 0, 0], 3, True),  # .25
        ([0, 0, 0, 0, 1, 1, 1, 1], 7, False),
        ([1, 1, 1, 1, 0, 1, 1, 1, 1], 8, False),  # the best again: the newest counts
        ([0] * 20, 19, False),  # never could anything
    ],
)
def test_averages_by_hand(outcomes, best_at, fallen):
    guard = fed(outcomes)
    assert guard.best_at == best_at
    assert bool(guard.verdict()) == fallen


def test_the_sentence():
    assert fed([1, 1, 1, 1, 0, 0, 0]).verdict() == (
        "success over the last 4 policy trials fell to 0.25 from 1.00 at trial 3 (rollback.drop 0.5)"
    )


def test_after_a_roll_back_only_newer_weights_count():
    guard = fed([1, 1, 1, 1, 0, 0, 0])
    guard.start_again(5)
    assert guard.verdict() == ""
    assert fed([0] * 9, 7, guard, version=4).verdict() == ""  # still under way with the bad weights
    assert guard.best_at == 3
    assert fed([1, 1, 1, 1, 0, 0, 0], 16, guard, version=5).verdict() != ""
    assert guard.best_at == 19


def test_demonstrations_and_aborted_trials_do_not_count():
    guard = SuccessGuard(CONFIG)
    for i in range(8):
        trial = trial_of(i)
        guard.add(with_rows(trial, source=np.full(len(trial), Source.SCRIPT, np.uint8)))
        guard.add(trial_of(i, aborted="lost"))
    assert guard.best_at == -1


def test_a_window_of_0_switches_it_off():
    guard = SuccessGuard(RollbackConfig(window=0))
    for i in range(9):
        guard.add(trial_of(i, success=i < 4))
    assert guard.verdict() == ""
