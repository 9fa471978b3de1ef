"""TrialClock: the exact sequence of flags, written out by hand."""

import dataclasses

import pytest

from meld_core.config import TaskConfig
from meld_core.trial import TrialClock


def clock_of(**changes) -> TrialClock:
    return TrialClock(dataclasses.replace(TaskConfig(), episodes=2, horizon=3, **changes))


def run(clock, successes):
    """(episode, step, flags) of each row; a flag is present by its letter."""
    rows = []
    for success in successes:
        row = clock.row(bool(success))
        letters = {
            "T": row.first_in_trial,
            "E": row.first_in_episode,
            "e": row.last_in_episode,
            "t": row.last_in_trial,
            "!": row.terminal,
            "|": row.truncated,
        }
        rows.append((row.episode, row.step, "".join(letter for letter, is_set in letters.items() if is_set)))
    return rows


def test_success_ends_episode_and_trial():
    assert run(clock_of(), [0, 0, 1, 0, 1]) == [
        (0, 0, "TE"),
        (0, 1, ""),
        (0, 2, "e"),
        (1, 0, "E"),
        (1, 1, "et!"),
    ]


def test_time_ends_episode_and_truncates_trial():
    assert run(clock_of(), [0] * 8) == [
        (0, 0, "TE"),
        (0, 1, ""),
        (0, 2, ""),
        (0, 3, "e"),
        (1, 0, "E"),
        (1, 1, ""),
        (1, 2, ""),
        (1, 3, "et|"),
    ]


def test_success_at_the_last_step_is_terminal():
    assert run(clock_of(), [0, 0, 0, 1, 0, 0, 0, 1])[-1] == (1, 3, "et!")


def test_success_on_arrival_ends_nothing():
    """No action led to row 0, so it cannot be the success of its episode."""
    assert run(clock_of(), [1, 0, 1])[-2:] == [(0, 1, ""), (0, 2, "e")]


def test_fixed_length_ignores_success_and_never_is_terminal():
    assert run(clock_of(episode_form="fixed_length"), [0, 1, 1, 1, 0, 1, 1, 1]) == [
        (0, 0, "TE"),
        (0, 1, ""),
        (0, 2, ""),
        (0, 3, "e"),
        (1, 0, "E"),
        (1, 1, ""),
        (1, 2, ""),
        (1, 3, "et|"),
    ]


def test_no_row_after_the_last():
    clock = clock_of()
    run(clock, [0, 1, 0, 1])
    with pytest.raises(RuntimeError, match="the trial is over; call begin_trial"):
        clock.row(False)


def test_begin_trial_starts_anew_in_the_middle_of_an_episode():
    clock = clock_of()
    run(clock, [0, 1, 0, 0])
    assert clock.episode == 1
    clock.begin_trial()
    assert clock.episode == 0
    assert run(clock, [0, 0]) == [(0, 0, "TE"), (0, 1, "")]


def test_only_the_first_row_of_a_trial_is_first_in_trial():
    clock = clock_of()
    for _ in range(2):
        rows = run(clock, [0, 1, 0, 0, 0, 0])
        assert [row[:2] for row in rows if "T" in row[2]] == [(0, 0)]
        clock.begin_trial()
