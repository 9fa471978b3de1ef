"""Belief cache: the right rows in the right places, what is drawn how often."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from meld_core.batch import Inputs
from meld_core.belief_cache import BeliefCache
from meld_core.config import SacConfig

from .learning import hand_made


class RowFilter:
    """Its belief is the row's tool position: identifiable, so that a mixed-up index cannot hide."""

    belief_size = 3
    noise_size = 0

    def unroll(self, inputs: Inputs, noise: torch.Tensor | None = None) -> torch.Tensor:
        return inputs.tool


def cache_of(*trials: object, across_episodes: bool = True) -> BeliefCache:
    sac = SacConfig(discount=0.5, n_step=1, across_episodes=across_episodes)
    return BeliefCache(RowFilter(), trials, sac, 0.25, torch.device("cpu"))  # type: ignore[arg-type]


def test_beliefs_actions_and_successors_belong_together() -> None:
    """One step of a long and of a short trial: b_t, a_t and b_{t+1} are rows of the same trial, next to each other."""
    long, short = hand_made([[0, 0, 0, 0, 0]], seed=1), hand_made([[0, 1]], seed=2)
    batch = cache_of(long, short).sample(200)
    tools = [torch.from_numpy(t.tool) for t in (long, short)]
    for belief, action, reward, successor in zip(
        batch.belief, batch.action, batch.reward, batch.next_belief, strict=True
    ):
        if bool((belief == tools[1][0]).all()):
            assert reward == 1.0
            assert torch.equal(successor, tools[1][1])
            continue
        row = round(float(action[0]) * 1000)
        assert torch.equal(belief, tools[0][row])
        assert torch.equal(successor, tools[0][row + 1])
        assert reward == 0.0


def test_luck_is_not_favoured() -> None:
    """The same first belief and action led to success at once (1 transition) and to a long failure (9).

    Ten transitions, one rewarded: a tenth of all draws. Drawn by trial it would be half, and Q five times too high.
    """
    torch.manual_seed(0)
    batch = cache_of(hand_made([[0, 1]]), hand_made([[0] * 10], seed=3)).sample(4000)
    assert batch.reward.mean().item() == pytest.approx(0.1, abs=0.02)


def test_demonstrations_have_their_share() -> None:
    """One demonstrated transition among ten others is drawn a quarter of the time; alone, always."""
    shown = dataclasses.replace(hand_made([[0, 1]]), demonstration=True)
    batch = cache_of(shown, hand_made([[0] * 11], seed=3)).sample(400)
    assert batch.reward.sum().item() == 100.0
    assert cache_of(shown).sample(8).reward.sum().item() == 8.0


def test_episodes_by_themselves_end_where_they_end() -> None:
    """Success at row 1 ends episode 1 for good; episode 2 was cut, and is bootstrapped. Across, row 2 follows row 1."""
    cut = dataclasses.replace(hand_made([[0, 1], [0, 0]]), ends=False)
    for across, after_success in ((False, 0.0), (True, 0.5)):
        batch = cache_of(cut, across_episodes=across).sample(50)
        rewarded = batch.reward > 0.5
        assert set(batch.discount[rewarded].tolist()) == {after_success}
        assert set(batch.discount[~rewarded].tolist()) == {0.5}
