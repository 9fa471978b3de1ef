"""A trainer_node whose GPU has no memory left from its third round on: for fault 31, on machines without a GPU.

Everything is genuine but the error: torch's own, raised where critics are trained unless the setting says cpu. With
MELD_TEST_WITHOUT=fallback nothing is made of it.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from meld_core import learner
from meld_ros import trainer_node

SOUND_CALLS = 4
"""Two rounds of two updates."""
devices: list[str] = []
calls: list[None] = []


def remembering(init: Any) -> Any:
    """The genuine __init__; takes note of the device that is asked for."""

    def call(self: Any, config: Any, store: Any, run: str, device: str = "") -> None:
        devices.append(device or config.learner.device)
        init(self, config, store, run, device)

    return call


def failing(loss_of: Any) -> Any:
    """The genuine loss, until there is no memory left."""

    def call(*args: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) > SOUND_CALLS and devices[-1] != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss_of(*args, **named)

    return call


def give_up(self: Any, lost: Exception) -> None:
    """No guard."""
    raise lost


if __name__ == "__main__":
    learner.Learner.__init__ = remembering(learner.Learner.__init__)
    learner.critic_loss = failing(learner.critic_loss)
    if os.environ.get("MELD_TEST_WITHOUT") == "fallback":
        trainer_node.TrainerNode._go_on_without = give_up
    trainer_node.main()
