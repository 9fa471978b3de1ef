"""slac.pytorch, the public PyTorch port of SLAC, from a checkout of the user's: what the learner is measured beside."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meld_core.bench.figures import BenchError

SOURCE = "https://github.com/toshikwa/slac.pytorch"
_SEQUENCES = 64
_ROWS = 8


class Peer:
    """Its learner at its own sizes, on sequences of random pictures: what they show does not change what they cost."""

    def __init__(self, checkout: Path, actions: int, device: str = "cpu") -> None:
        """Raises BenchError where the folder is no checkout of it."""
        algorithm = _algorithm(checkout)
        with torch.random.fork_rng():
            self._algorithm = algorithm(
                (3, 64, 64), (actions,), 1, torch.device(device), 0, buffer_size=_SEQUENCES, num_sequences=_ROWS
            )
        self._fill(np.random.default_rng(0), actions)

    def _fill(self, rng: np.random.Generator, actions: int) -> None:
        buffer = self._algorithm.buffer
        buffer.reset_episode(_picture(rng))
        for _ in range(_SEQUENCES + _ROWS - 1):
            buffer.append(rng.uniform(-1, 1, actions), 0.0, False, _picture(rng), False)

    def update_model(self) -> None:
        """One step on its latent model, batch 32."""
        self._algorithm.update_latent(None)

    def update_actor_critic(self) -> None:
        """One step on its actor and critics, batch 256, which it encodes anew."""
        self._algorithm.update_sac(None)


def _picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (3, 64, 64), np.uint8)


def _algorithm(checkout: Path) -> Callable[..., Any]:
    if not (checkout / "slac" / "algo.py").is_file():
        raise BenchError(f"{checkout} is no checkout of the peer; get it with: git clone {SOURCE}")
    sys.path.insert(0, str(checkout))
    try:
        found: Callable[..., Any] = importlib.import_module("slac.algo").SlacAlgorithm
    finally:
        sys.path.remove(str(checkout))
    return found
