"""Threads of torch: where more than one does not pay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever is computed here runs on one thread, so that its last bits are the same on every machine.

    It is also faster where products are small. Two threads meet at a barrier hundreds of times in an actor-critic
    update; while other processes have one of the cores, each meeting waits for the scheduler, and an update took 15
    times as long as on one thread.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
