"""BeliefCache: beliefs of many whole trials, computed once, from which many actor-critic updates draw.

Encoding is what costs; an update on cached beliefs is some fifty times cheaper. Nothing is encoded twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meld_core.batch import Inputs, LearnerTrial, to_inputs
from meld_core.config import SacConfig
from meld_core.latent_contract import BeliefFilter
from meld_core.sac import BeliefBatch

_CHUNK = 16
"""Trials that are filtered together; sorted by length, so that little is padded."""


class Transitions:
    """n-step transitions of one trial, by row index.

    The decision rows of a trial are all rows with an action, in order; an episode boundary is crossed like any other
    step, so that what episode 1 learns is valued by what it earns in episode 2. The reward of decision t is r_{t+1},
    or r_t with `reward_index` "own": what the published code does, which loses the last reward.
    """

    def __init__(self, trial: LearnerTrial, discount: float, n_step: int, reward_index: str = "next") -> None:
        rows = len(trial)
        last_in_episode = np.append(trial.first_in_episode[1:], True)
        decisions = np.flatnonzero(~last_in_episode)
        count = len(decisions)
        rewarded = decisions + 1 if reward_index == "next" else decisions
        rewards = np.append(trial.target[rewarded], np.zeros(n_step, np.float32))
        usable = np.append((trial.reward_valid & trial.valid)[rewarded], np.ones(n_step, bool))
        self.reward = np.zeros(count, np.float32)
        known = trial.valid[decisions].copy()
        for k in range(n_step):
            self.reward += discount**k * rewards[k : k + count]
            known &= usable[k : k + count]
        after = np.arange(count) + n_step
        beyond = after >= count
        steps = np.where(beyond, count - np.arange(count), n_step)
        self.row = decisions
        self.next_row = np.where(beyond, rows - 1, decisions[np.minimum(after, count - 1)] if count else 0)
        self.discount = np.where(beyond & trial.ends, 0.0, discount**steps).astype(np.float32)
        self.known = known


def _split(trial: LearnerTrial) -> list[LearnerTrial]:
    """The episodes of a trial, as views; the last one ends as the trial does, others as its episodes do."""
    starts = np.flatnonzero(trial.first_in_episode).tolist()
    rows = [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(trial)], strict=True)]
    whole = {f.name: getattr(trial, f.name) for f in dataclasses.fields(trial)}

    def part(of: slice) -> LearnerTrial:
        fields: dict[str, Any] = {k: v[of] if isinstance(v, np.ndarray) else v for k, v in whole.items()}
        return LearnerTrial(**fields | {"ends": trial.ends if of.stop == len(trial) else trial.episodes_end})

    return [part(of) for of in rows]


class BeliefCache:
    """Transitions between beliefs of a set of trials."""

    def __init__(
        self,
        belief_filter: BeliefFilter,
        trials: Sequence[LearnerTrial],
        sac: SacConfig,
        demonstration_share: float,
        device: torch.device,
    ) -> None:
        self._beliefs = _filter_all(belief_filter, trials, device)
        if not sac.across_episodes:
            trials = [episode for trial in trials for episode in _split(trial)]
        offsets = np.cumsum([0, *(len(t) for t in trials)])[:-1]
        parts = [Transitions(t, sac.discount, sac.n_step, sac.reward_index) for t in trials]

        def joined(arrays: Sequence[np.ndarray]) -> Tensor:
            chosen = [a[p.known] for a, p in zip(arrays, parts, strict=True)]
            return torch.from_numpy(np.concatenate(chosen)).to(device)

        self._row = joined([p.row + o for p, o in zip(parts, offsets, strict=True)])
        self._next_row = joined([p.next_row + o for p, o in zip(parts, offsets, strict=True)])
        self._reward = joined([p.reward for p in parts])
        self._discount = joined([p.discount for p in parts])
        self._action = joined([t.action[p.row] for t, p in zip(trials, parts, strict=True)])
        self._intended = joined([t.intended[p.row] for t, p in zip(trials, parts, strict=True)])
        self._cloned = joined([t.cloned[p.row].astype(np.float32) for t, p in zip(trials, parts, strict=True)])
        shown = joined([np.full(len(p.row), t.demonstration) for t, p in zip(trials, parts, strict=True)])
        self._demonstrated, self._own = shown.nonzero().squeeze(-1), (~shown).nonzero().squeeze(-1)
        self._share = demonstration_share if len(self._own) else 1.0

    def __len__(self) -> int:
        return len(self._row)

    def sample(self, count: int) -> BeliefBatch:
        """`count` transitions with replacement, a share of them from demonstrations.

        Within each part uniformly by transition, not by trial: what follows an action depends on which port is live,
        and a choice by trial would favour the short, lucky ones and teach the critics an optimism that is not there.
        """
        shown = round(self._share * count) if len(self._demonstrated) else 0
        index = torch.cat([_draw(self._demonstrated, shown), _draw(self._own, count - shown)])
        return BeliefBatch(
            belief=self._beliefs[self._row[index]],
            action=self._action[index],
            reward=self._reward[index],
            discount=self._discount[index],
            next_belief=self._beliefs[self._next_row[index]],
            intended=self._intended[index],
            cloned=self._cloned[index],
        )


def _draw(pool: Tensor, count: int) -> Tensor:
    return pool[torch.randint(len(pool), (count,), device=pool.device)] if count else pool[:0]


@torch.no_grad()
def _filter_all(belief_filter: BeliefFilter, trials: Sequence[LearnerTrial], device: torch.device) -> Tensor:
    """Beliefs of all rows, trial after trial: (sum of lengths, D)."""
    order = sorted(range(len(trials)), key=lambda i: len(trials[i]))
    beliefs: dict[int, Tensor] = {}
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        inputs = to_inputs([trials[i] for i in chunk], device)
        unrolled = belief_filter.unroll(inputs, _draw_noise(belief_filter, inputs))
        beliefs |= {i: unrolled[j, : len(trials[i])] for j, i in enumerate(chunk)}
    return torch.cat([beliefs[i] for i in range(len(trials))])


def _draw_noise(belief_filter: BeliefFilter, inputs: Inputs) -> Tensor | None:
    """(B, L, noise_size) for a filter that samples its latent, None for any other."""
    size, observed = belief_filter.noise_size, inputs.observed
    return torch.randn(*observed.shape, size, device=observed.device) if size else None
