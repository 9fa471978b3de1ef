"""Hindsight: what a demonstrator would have done in a recorded trial, and what the trial would have been otherwise.

Both use where ports are, as a taught bench knows it, and what the trial itself has shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from meld_core.batch import LearnerTrial


def corrected(trial: LearnerTrial) -> LearnerTrial:
    """The demonstrator labels every row of anybody's trial, from what that trial has shown so far.

    DAgger (Ross et al. 2011). It goes to the port in which an earlier episode was rewarded, else it searches: it knows
    where ports are, and which one is live no sooner than the agent could. Where the live port may move between
    episodes it doubts its memory: once it is seated there and nothing is paid, it searches on.
    """
    found = _found(trial)
    known = found >= 0
    intended = np.where(known[:, None], trial.direct[np.arange(len(trial)), np.where(known, found, 0)], trial.search)
    return dataclasses.replace(trial, intended=intended, cloned=np.ones(len(trial), bool))


def _found(trial: LearnerTrial) -> np.ndarray:
    """(N,) per row the port that was rewarded so far; -1 where there is none, or it failed since."""
    found, port = np.full(len(trial), -1), -1
    for rows in trial.episodes():
        found[rows] = port
        if trial.switching and port >= 0 and (failed := _unpaid(trial, rows, port)):
            found[failed[0] : rows.stop], port = -1, -1
        rewarded = np.flatnonzero(trial.reward[rows] > 0.5)
        if len(rewarded) and trial.in_port[rows.start + rewarded[0]].any():
            first = rows.start + rewarded[0]
            port = int(trial.in_port[first].argmax())
            found[first : rows.stop] = port  # in an episode of fixed length: stay there
    return found


def _unpaid(trial: LearnerTrial, rows: slice, port: int) -> list[int]:
    """Rows of an episode at which the plug is seated in `port` without reward."""
    paid = (trial.reward > 0.5) | ~trial.reward_valid | trial.first_in_episode  # the last two say nothing
    return (rows.start + np.flatnonzero((trial.in_port[:, port] & ~paid)[rows])).tolist()


def relabel(trial: LearnerTrial, live: int | Sequence[int], horizon: int, end_on_success: bool) -> LearnerTrial:
    """What the trial would have been had another port been live, as far as the logged poses tell.

    Args:
        trial: As recorded.
        live: Hypothetical live port of all episodes, or one for each.
        horizon: Most steps of an episode.
        end_on_success: The episode form.

    The sparse reward becomes "seated in the live port", the shaped one that of the live port. With `end_on_success`
    each episode is cut at its first hypothetical success; where an episode had ended early by the recorded success but
    not by the hypothetical one, nothing is known of what would have followed: the trial ends there and is bootstrapped.
    """
    episodes = trial.episodes()
    ports = np.repeat(np.broadcast_to(live, len(episodes)), [rows.stop - rows.start for rows in episodes])
    reward = (trial.in_port[np.arange(len(trial)), ports] & ~trial.first_in_episode).astype(np.float32)
    shaped = trial.would_shape[np.arange(len(trial)), ports]
    trial = dataclasses.replace(trial, reward=reward, shaped=shaped, live=ports)
    if not end_on_success:
        return trial
    keep: list[np.ndarray] = []
    ends = trial.ends
    for rows in episodes:
        hits = np.flatnonzero(reward[rows])
        last = rows.start + int(hits[0]) + 1 if len(hits) else rows.stop
        keep.append(np.arange(rows.start, last))
        is_last_episode = rows.stop == len(trial)
        if not len(hits) and rows.stop - rows.start <= horizon:
            ends = False
            break
        ends = is_last_episode and trial.ends  # of a trial that was aborted between episodes nothing is known after
    return take_rows(dataclasses.replace(trial, ends=ends), np.concatenate(keep))


def take_rows(trial: LearnerTrial, index: np.ndarray) -> LearnerTrial:
    """A subset of rows, in order."""
    arrays = {f.name: getattr(trial, f.name) for f in dataclasses.fields(trial)}
    return LearnerTrial(**{k: v[index] if isinstance(v, np.ndarray) else v for k, v in arrays.items()})
