"""What becomes of training when its GPU does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
