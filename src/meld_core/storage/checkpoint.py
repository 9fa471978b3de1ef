"""Checkpoints: the learner's full state as tensors and JSON, written atomically and without pickle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from meld_core.json_text import parse_object
from meld_core.storage.files import write_atomic
from meld_core.storage.tensor_file import pack, unpack


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; its text is one clear sentence."""


def write(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write atomically. Raises StorageError where the disk refuses."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    write_atomic(path, pack("checkpoint", json.dumps(meta), arrays))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `write`.

    Raises:
        CheckpointError: where the file is missing or damaged.
    """
    try:
        text, arrays = unpack("checkpoint", path.read_bytes())
        meta = parse_object(text)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from None
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, meta


@contextlib.contextmanager
def fits(path: Path) -> Iterator[None]:
    """Turn what torch says about a checkpoint that does not fit into one sentence."""
    try:
        yield
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit this config: {' '.join(str(error).split())[:300]}") from None


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State per parameter: '<index>.<name>' → tensor. Rates are set by the schedule and not stored."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, slots in state.items() for name, value in slots.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `flatten_optimizer`."""
    slots: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        index, _, name = path.partition(".")
        slots.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
