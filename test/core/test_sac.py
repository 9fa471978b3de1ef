"""Soft actor-critic losses, against numbers computed by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from meld_core.nets import Actor, Critics
from meld_core.sac import BeliefBatch, actor_loss, critic_loss, critic_target, polyak, temperature_loss


class FixedCritics(nn.Module):
    """Returns the same two values for any belief and action."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, belief: Tensor, action: Tensor) -> Tensor:
        return self.values[:, None].expand(-1, len(belief))


class FixedActor(nn.Module):
    """Always the action 0 with log π = -2."""

    def sample(self, belief: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(belief), 3), torch.full((len(belief),), -2.0)


def a_batch(discount: float = 0.9, count: int = 4, **changes: Tensor) -> BeliefBatch:
    zeros = torch.zeros(count, 3)
    batch = BeliefBatch(
        belief=torch.zeros(count, 8), action=zeros, reward=torch.ones(count), discount=torch.full((count,), discount),
        next_belief=torch.zeros(count, 8), intended=zeros, cloned=torch.zeros(count),
    )  # fmt: skip
    return dataclasses.replace(batch, **changes)


@pytest.mark.parametrize(
    ("discount", "entropy_backup", "expected"),
    [(0.9, True, 1.0 + 0.9 * (3.0 + 0.5 * 2.0)), (0.9, False, 1.0 + 0.9 * 3.0), (0.0, True, 1.0)],
)
def test_critic_target(discount: float, entropy_backup: bool, expected: float) -> None:
    """y = R + discount (min Q̄ - α log π), with R = 1, Q̄ = (3, 7), α = 0.5, log π = -2; discount 0: nothing follows."""
    target = critic_target(FixedCritics(3.0, 7.0), FixedActor(), torch.tensor(0.5), a_batch(discount), entropy_backup)  # type: ignore[arg-type]
    assert target.tolist() == pytest.approx([expected] * 4)


def test_critic_loss_sums_half_squares_of_the_ensemble() -> None:
    """Q = (1, 4), y = 2: ½ (1 + 4) = 2.5."""
    loss, metrics = critic_loss(FixedCritics(1.0, 4.0), torch.full((4,), 2.0), a_batch())  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(2.5)
    assert metrics["critic/q"].item() == pytest.approx(2.5)


def test_temperature_gradient() -> None:
    """MELD_SPEC check 9: d/d(log α) = mean(-log π) - H̄; zero at the target, and log α falls above it."""
    for entropy, expected in [(-2.0, 0.0), (1.0, 3.0), (-5.0, -3.0)]:
        log_temperature = torch.zeros((), requires_grad=True)
        temperature_loss(log_temperature, torch.full((4,), -entropy), -2.0).backward()
        assert log_temperature.grad is not None
        assert log_temperature.grad.item() == pytest.approx(expected)


def test_cloning_counts_demonstrated_rows_only() -> None:
    """Mean action 0; one of four rows is demonstrated with (0.5, 0, 1): error 1.25, whatever the others hold."""
    actor = Actor(8, 4, 3)
    for parameter in actor.parameters():
        nn.init.zeros_(parameter)
    intended = torch.full((4, 3), 9.0)
    intended[2] = torch.tensor([0.5, 0.0, 1.0])
    batch = a_batch(intended=intended, cloned=torch.tensor([0.0, 0.0, 1.0, 0.0]))
    critics: Any = FixedCritics(1.0, 2.0)
    losses = [actor_loss(actor, critics, torch.tensor(0.0), batch, cloning=c)[0].item() for c in (0.0, 2.0)]
    assert losses == pytest.approx([-1.0, -1.0 + 2.0 * 1.25])


def test_actor_loss_uses_the_smaller_critic_and_the_temperature() -> None:
    actor = Actor(8, 4, 3)
    torch.manual_seed(0)
    critics: Any = FixedCritics(5.0, 2.0)
    loss, log_pi, _ = actor_loss(actor, critics, torch.tensor(0.25), a_batch())
    assert loss.item() == pytest.approx(0.25 * log_pi.mean().item() - 2.0)


def test_critics_speak_with_their_weight() -> None:
    """min(5, 2) = 2, weighed 0.25."""
    critics: Any = FixedCritics(5.0, 2.0)
    loss, _, _ = actor_loss(Actor(8, 4, 3), critics, torch.tensor(0.0), a_batch(), value=0.25)
    assert loss.item() == pytest.approx(-0.5)


def test_polyak_moves_by_its_rate() -> None:
    target, source = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.zeros_(target.weight), nn.init.ones_(source.weight)
    polyak(target, source, 0.25)
    assert target.weight.item() == pytest.approx(0.25)


def test_corrected_reward_index_learns_in_one_backup() -> None:
    """MELD_SPEC check 20: one step, reward 1 for action +1 and 0 for -1, nothing before it and nothing after.

    With r_{t+1} in the target the critic of the first belief sees the difference at once; with the published index it
    would see r_t = 0 for both.
    """
    from meld_core.belief_cache import Transitions

    from .learning import hand_made

    good, bad = (Transitions(hand_made([[0.0, r]]), discount=0.9, n_step=1) for r in (1.0, 0.0))
    assert (good.reward.tolist(), bad.reward.tolist()) == ([1.0], [0.0])
    assert (good.discount.tolist(), bad.discount.tolist()) == ([0.0], [0.0])
    critics = Critics(8, 3, 16, 2)
    optimizer = torch.optim.Adam(critics.parameters(), lr=0.02)
    action = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    batch = a_batch(0.0, 2, action=action, reward=torch.tensor([good.reward[0], bad.reward[0]]))
    for _ in range(200):
        optimizer.zero_grad()
        critic_loss(critics, batch.reward, batch)[0].backward()
        optimizer.step()
    assert critics(batch.belief, action).mean(0).tolist() == pytest.approx([1.0, 0.0], abs=0.05)


def test_log_two() -> None:
    """A uniform action on (-1, 1) has entropy ln 2 per dimension: the squashed Gaussian stays below it."""
    actor = Actor(8, 4, 1)
    torch.manual_seed(0)
    _, log_pi = actor.sample(torch.zeros(20_000, 8))
    assert -log_pi.mean().item() < math.log(2.0)
