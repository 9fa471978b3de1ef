"""Actor and critics of a config: with LayerNorm and a bounded spread, or as published."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from meld_core.config import SacConfig
from meld_core.latent_contract import ACTIONS
from meld_core.nets import Actor, Critics, EnsembleLinear, last_exact

_LOG_STD = (-20.0, 2.0)
"""Published bounds of the policy's log standard deviation."""


class ClippedActor(Actor):
    """π(a|b) whose log standard deviation is clipped to [-20, 2], as published."""

    def forward(self, belief: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) → mean and log std before the squash, each (..., A)."""
        mean, raw = last_exact(self.layers, belief, self.bf16).chunk(2, dim=-1)
        return mean, raw.clamp(*_LOG_STD)


def make_actor(belief: int, sac: SacConfig, actions: int = ACTIONS) -> Actor:
    """The actor of `sac.network` and `sac.spread` for beliefs of a size."""
    kind = ClippedActor if sac.spread == "clipped" else Actor
    actor = kind(belief, sac.hidden, actions, sac.max_std)
    if sac.network == "plain":
        actor.layers = _plain_layers(nn.Linear, (belief, sac.hidden, sac.hidden, 2 * actions))
    return actor


def make_critics(belief: int, sac: SacConfig, actions: int = ACTIONS) -> Critics:
    """The critics of `sac.network` for beliefs of a size."""
    critics = Critics(belief, actions, sac.hidden, sac.critics)
    if sac.network == "plain":

        def linear(inputs: int, outputs: int) -> nn.Module:
            return EnsembleLinear(sac.critics, inputs, outputs)

        critics.layers = _plain_layers(linear, (belief + actions, sac.hidden, sac.hidden, 1))
    return critics


class _MakeLinear(Protocol):
    def __call__(self, inputs: int, outputs: int, /) -> nn.Module:
        """A linear layer with `weight` and `bias`."""


def _plain_layers(linear: _MakeLinear, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them; weights Glorot uniform, biases 0."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layer = linear(inputs, outputs)
        bound = math.sqrt(6.0 / (inputs + outputs))
        nn.init.uniform_(layer.get_parameter("weight"), -bound, bound)
        nn.init.zeros_(layer.get_parameter("bias"))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
