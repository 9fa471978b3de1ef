"""A tiny form of the published two-level model, and what it is given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from meld_core.batch import Inputs, to_inputs
from meld_core.config import Config
from meld_core.latent_model import make_latent_model
from meld_core.slac.model import SlacModel

from .learning import hand_made, tiny_config

CPU = torch.device("cpu")
TINY = ("model.kind=slac", "slac.base_depth=2", "slac.latent1=3", "slac.latent2=5", "slac.reward_repeats=2")
NOISE = 3 + 5


def tiny_slac(*overrides: str) -> Config:
    return tiny_config(*TINY, *overrides)


def tiny_model() -> SlacModel:
    torch.manual_seed(3)
    made = make_latent_model(tiny_slac()).eval()
    assert isinstance(made, SlacModel)
    return made


def two_episodes() -> Inputs:
    return to_inputs([hand_made([[0, 0, 0, 1], [0, 0, 0, 1]], seed=5)], CPU)


def some_noise(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(1, rows, NOISE, generator=torch.Generator().manual_seed(seed))


def zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
