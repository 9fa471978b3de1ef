"""The contract of latent models: what agent, learner and belief cache need of one, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from meld_core.batch import Inputs, TrialBatch
from meld_core.config import LossConfig

ACTIONS = 3
"""Size of an action: tool displacement x, y, z."""

State = Mapping[str, Tensor]
"""Recurrent state of a filter, each (B, ...)."""
Metrics = dict[str, Tensor]


class BeliefFilter(Protocol):
    """The part of a latent model that runs on the robot."""

    belief_size: int
    noise_size: int
    """Standard normal numbers that a step draws: 0 for a filter without sampling."""

    def initial(self, batch: int) -> State:
        """State before the first row of a trial."""

    def update(self, state: State, inputs: Inputs, noise: Tensor | None = None) -> tuple[State, Tensor]:
        """One step, inputs (B, ...) → the next state and the belief (B, D).

        Args:
            noise: (B, noise_size) propagates samples of the latent; None propagates its means.
        """

    def unroll(self, inputs: Inputs, noise: Tensor | None = None) -> Tensor:
        """Whole trials from `first_in_trial`, inputs (B, L, ...) → beliefs (B, L, D), the same as step by step."""


class LatentModel(Protocol):
    """A filter together with what trains it."""

    filter: BeliefFilter

    def predict(self, state: State, action: Tensor, first_in_episode: Tensor) -> tuple[Tensor, Tensor]:
        """Prior over the next latent: mean and std (B, Z)."""

    def loss(self, batch: TrialBatch, weights: LossConfig) -> tuple[Tensor, Metrics]:
        """Negative ELBO averaged over observed rows, and its parts."""
