"""Work that is made ready while a GPU is busy with what came before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")


def made_ahead(make: Callable[[], Item], count: int, device: torch.device) -> Iterator[Item]:
    """`make()` as often as told, in order. For a GPU a thread makes one while the one before is worked on.

    On a CPU both would share the same cores, and nothing is made ahead. Never more than `count` are made, so that
    whatever `make` draws at random is the same on both.
    """
    if device.type == "cpu":
        yield from (make() for _ in range(count))
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as worker:
        next_one = worker.submit(make) if count else None
        for left in reversed(range(count)):
            assert next_one is not None
            item = next_one.result()
            next_one = worker.submit(make) if left else None
            yield item


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on its way to a device: from pinned memory, which a GPU reads by itself, without waiting for it."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
