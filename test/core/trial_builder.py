"""Small identifiable trials for tests: action = step / 100, stamp = 10 * (row + 1) + shift."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meld_core.types import Source, Trial, TrialId, TrialMeta

BOOT = "0123456789abcdef0123456789abcdef"


def meta_of(counter: int = 7, split: str = "train", boot: str = BOOT, **changes: Any) -> TrialMeta:
    """A header of robot 'arm', run 'demo'."""
    task = {"id": f"insertion-{split}-3", "split": split, "seed": 3, "live": 1, "ports": [[0.3, 0.044, 0.06]]}
    meta = TrialMeta(TrialId("arm", "demo", boot, counter), task, weights_version=4, weights_digest="ab")
    return dataclasses.replace(meta, **changes)


def episode_of(episode: int, steps: int, *, last: bool, success: bool = True, start: int = 0) -> dict[str, np.ndarray]:
    """Rows of one closed episode; `start` rows of its trial came before."""
    n = steps + 1
    number = np.arange(n)
    ends = number == steps
    action = np.where(ends, 0.0, (number + 1) / 100).astype(np.float32)[:, None].repeat(3, axis=1)
    reward = (ends & success).astype(np.float32)
    return {
        "image": np.full((n, 4, 2, 3), episode, np.uint8) + number.astype(np.uint8)[:, None, None, None],
        "joints": np.repeat(number[:, None], 6, axis=1).astype(np.float32),
        "velocities": np.zeros((n, 6), np.float32),
        "tool_position": np.full((n, 3), 0.25, np.float32),
        "tool_orientation": np.tile(np.array([0, 0, 0, 1], np.float32), (n, 1)),
        "reward": reward,
        "reward_valid": np.ones(n, bool),
        "success": ends & success,
        "probability": reward.copy(),
        "action": action,
        "intended_action": action.copy(),
        "source": np.full(n, Source.POLICY, np.uint8),
        "valid": np.ones(n, bool),
        "first_in_trial": (number == 0) & (episode == 0),
        "first_in_episode": number == 0,
        "terminal": ends & (last and success),
        "truncated": ends & (last and not success),
        "episode": np.full(n, episode, np.int16),
        "step": number.astype(np.int16),
        "stamp": 10 * (start + number.astype(np.int64) + 1),
    }


def truth_of(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two truth columns of the right length."""
    n = len(rows["stamp"])
    return {"success": rows["success"].astype(np.float32), "port": np.full(n, -1.0, np.float32)}


def episodes_of(steps: Sequence[int], **changes: Any) -> list[dict[str, np.ndarray]]:
    """The episodes of one whole trial."""
    starts = np.cumsum([0, *(s + 1 for s in steps)])
    last = len(steps) - 1
    return [episode_of(k, s, last=k == last, start=int(starts[k]), **changes) for k, s in enumerate(steps)]


def trial_of(counter: int = 7, steps: Sequence[int] = (3, 2), *, success: bool = True, **changes: Any) -> Trial:
    """A trial of episodes with these numbers of steps; `changes` go to the header."""
    parts = episodes_of(steps, success=success)
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Trial(meta_of(counter, **changes), rows, truth_of(rows))


def with_rows(trial: Trial, **rows: np.ndarray) -> Trial:
    """The same trial with some columns replaced."""
    return dataclasses.replace(trial, rows={**trial.rows, **rows})


def set_at(trial: Trial, name: str, row: int, value: Any) -> Trial:
    """The same trial with one entry changed."""
    column = trial.rows[name].copy()
    column[row] = value
    return with_rows(trial, **{name: column})
