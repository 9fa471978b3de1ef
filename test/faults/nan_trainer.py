"""A trainer_node whose losses of actor and critics are NaN from its third round on: for fault 20."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meld_core import learner
from meld_ros.trainer_node import main

SOUND_CALLS = 4
"""Two rounds of two updates."""


def poisoned(loss_of: Callable[..., Any]) -> Callable[..., Any]:
    """The genuine loss, times NaN after enough calls."""
    calls: list[None] = []

    def call(*args: Any, **named: Any) -> Any:
        loss, *rest = loss_of(*args, **named)
        calls.append(None)
        return loss * (float("nan") if len(calls) > SOUND_CALLS else 1.0), *rest

    return call


if __name__ == "__main__":
    learner.critic_loss = poisoned(learner.critic_loss)
    learner.actor_loss = poisoned(learner.actor_loss)
    main()
