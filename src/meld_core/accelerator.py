"""The device that trains: which one it is, its random numbers, and what becomes of training when a GPU is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def find_device(name: str) -> torch.device:
    """The device of `learner.device`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def random_state(device: torch.device) -> torch.Tensor | None:
    """State of a GPU's random generator; None on a CPU, which has torch's own."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else None


class AcceleratorLostError(RuntimeError):
    """The GPU is lost or has no memory left; the text is one clear sentence."""


@contextmanager
def accelerator_watched() -> Iterator[None]:
    """Turn what torch raises for a lost or a full GPU into AcceleratorLostError."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        said = str(error).partition("\n")[0]
        raise AcceleratorLostError(
            f"the GPU failed ({said}); what was trained until the last checkpoint is on disk, learner.device=cpu goes "
            "on without it"
        ) from error
