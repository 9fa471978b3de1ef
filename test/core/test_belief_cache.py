"""Belief cache: the right rows in the right places, trials drawn alike."""

from __future__ import annotations

import pytest
import torch

from meld_core.batch import Inputs
from meld_core.belief_cache import BeliefCache

from .learning import hand_made


class RowFilter:
    """Its belief is the row's tool position: identifiable, so that a mixed-up index cannot hide."""

    belief_size = 3

    def unroll(self, inputs: Inputs) -> torch.Tensor:
        return inputs.tool


def cache_of(*trials: object) -> BeliefCache:
    return BeliefCache(RowFilter(), trials, 0.5, 1, torch.device("cpu"))  # type: ignore[arg-type]


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


def test_a_short_trial_is_drawn_as_often_as_a_long_one() -> None:
    """Transitions 1 and 9: half of all draws are the short trial's single one."""
    torch.manual_seed(0)
    batch = cache_of(hand_made([[0, 1]]), hand_made([[0] * 10], seed=3)).sample(4000)
    assert batch.reward.mean().item() == pytest.approx(0.5, abs=0.03)
