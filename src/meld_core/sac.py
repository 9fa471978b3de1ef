"""Soft actor-critic on beliefs: the losses, as plain functions of tensors. No optimizer, no logger, no device."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from meld_core.nets import Actor, Critics

Metrics = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class BeliefBatch:
    """Transitions between beliefs, from the cache. Beliefs carry no gradient: the model has a loss of its own."""

    belief: Tensor
    """(B, D) b_t."""
    action: Tensor
    """(B, A) executed a_t."""
    reward: Tensor
    """(B,) r_{t+1} + γ r_{t+2} + ... over n steps."""
    discount: Tensor
    """(B,) γ^n, or 0 where nothing follows."""
    next_belief: Tensor
    """(B, D) b_{t+n}."""
    intended: Tensor
    """(B, A) what a demonstrator meant to do."""
    cloned: Tensor
    """(B,) 1 where the action is to be imitated."""


def critic_target(
    target_critics: Critics, actor: Actor, temperature: Tensor, batch: BeliefBatch, entropy_backup: bool
) -> Tensor:
    """y_t = R_t + discount · (min_i Q̄_i(b', a') [- α log π(a'|b')]), a' ~ π(b'); (B,)."""
    with torch.no_grad():
        next_action, next_log_pi = actor.sample(batch.next_belief)
        value = target_critics(batch.next_belief, next_action).min(dim=0).values
        if entropy_backup:
            value = value - temperature * next_log_pi
        return batch.reward + batch.discount * value


def critic_loss(critics: Critics, target: Tensor, batch: BeliefBatch) -> tuple[Tensor, Metrics]:
    """J_Q = 1/2 Σ_i E[(Q_i(b_t, a_t) - y_t)²]."""
    q = critics(batch.belief, batch.action)  # (E, B)
    assert q.shape[1:] == target.shape, (q.shape, target.shape)
    loss = 0.5 * F.mse_loss(q, target.expand_as(q), reduction="none").sum(dim=0).mean()
    return loss, {"critic/loss": loss.detach(), "critic/q": q.detach().mean(), "critic/target": target.mean()}


def actor_loss(
    actor: Actor,
    critics: Critics,
    temperature: Tensor,
    batch: BeliefBatch,
    *,
    value: float = 1.0,
    cloning: float | Tensor = 0.0,
) -> tuple[Tensor, Tensor, Metrics]:
    """J_π = E[α log π(a|b) - value · min_i Q_i(b, a)] + cloning · E_demo[|tanh μ(b) - a_demo|²].

    Returns:
        Scalar loss, log π (B,) without gradient, metrics.
    """
    mean, log_std = actor(batch.belief)
    action, log_pi = actor.squash(mean, log_std)
    q = critics(batch.belief, action).min(dim=0).values
    loss = (temperature * log_pi - value * q).mean()
    error = (torch.tanh(mean) - batch.intended).square().sum(dim=-1)
    clone = (error * batch.cloned).sum() / batch.cloned.sum().clamp(min=1.0)
    metrics = {"actor/loss": loss.detach(), "actor/entropy": -log_pi.detach().mean(), "actor/cloning": clone.detach()}
    return loss + cloning * clone, log_pi.detach(), metrics


def temperature_loss(log_temperature: Tensor, log_pi: Tensor, target_entropy: float) -> Tensor:
    """J_α = E[log α · (-log π - H̄)]: α falls while the entropy is above its target H̄."""
    return (log_temperature * (-log_pi - target_entropy).detach()).mean()


@torch.no_grad()
def polyak(targets: torch.nn.Module, sources: torch.nn.Module, rate: float) -> None:
    """θ̄ ← (1 - rate) θ̄ + rate θ, all tensors in one call."""
    torch._foreach_lerp_(list(targets.parameters()), list(sources.parameters()), rate)
