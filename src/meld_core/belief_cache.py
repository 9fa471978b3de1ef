"""BeliefCache: beliefs of many whole trials, computed once, from which many actor-critic updates draw.

Encoding is what costs; an update on cached beliefs is some fifty times cheaper. Nothing is encoded twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from meld_core.batch import LearnerTrial, to_inputs
from meld_core.config import SacConfig
from meld_core.latent_model import BeliefFilter
from meld_core.sac import BeliefBatch

_CHUNK = 16
"""Trials that are filtered together; sorted by length, so that little is padded."""


class Transitions:
    """n-step transitions of one trial, by row index.

    The decision rows of a trial are all rows with an action, in order; an episode boundary is crossed like any other
    step, so that what episode 1 learns is valued by what it earns in episode 2. The reward of decision t is r_{t+1}.
    """

    def __init__(self, trial: LearnerTrial, discount: float, n_step: int) -> None:
        rows = len(trial)
        last_in_episode = np.append(trial.first_in_episode[1:], True)
        decisions = np.flatnonzero(~last_in_episode)
        count = len(decisions)
        rewards = np.append(trial.reward[decisions + 1], np.zeros(n_step, np.float32))
        usable = np.append((trial.reward_valid & trial.valid)[decisions + 1], np.ones(n_step, bool))
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
        offsets = np.cumsum([0, *(len(t) for t in trials)])[:-1]
        parts = [Transitions(t, sac.discount, sac.n_step) for t in trials]

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
        unrolled = belief_filter.unroll(to_inputs([trials[i] for i in chunk], device))
        beliefs |= {i: unrolled[j, : len(trials[i])] for j, i in enumerate(chunk)}
    return torch.cat([beliefs[i] for i in range(len(trials))])
