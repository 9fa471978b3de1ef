"""Small updates on a GPU spend their time in launching kernels one by one; recorded as a CUDA graph they do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")
"""A dataclass of tensors, each of one shape and type for good."""
_FIRST = 3
"""Calls before the recording: optimizers make their state, libraries choose their algorithms."""


class RecordedUpdate(Generic[Batch]):
    """Runs an update; on a GPU its kernels are recorded at the fourth call and replayed from there on.

    Args:
        act: The update: a batch in, metrics out. All else that it reads or changes must lie in tensors that stay where
            they are, and it may not ask the GPU for a number. Random numbers go on as if it had been called.
        device: Where its tensors are.
    """

    def __init__(self, act: Callable[[Batch], dict[str, Tensor]], device: torch.device) -> None:
        self._act, self._device = act, device
        self.forget()

    def forget(self) -> None:
        """Record anew: what the update works on lies elsewhere now."""
        self._calls = 0
        self._graph: Any = None
        self._batch: Any = None
        self._names: list[str] = []
        self._values: Tensor | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Do the update; its metrics, which later calls leave alone."""
        if self._device.type != "cuda":
            return self._act(batch)
        if self._calls < _FIRST:
            self._calls += 1
            return self._beside(batch)
        if self._graph is None:
            self._record(batch)
        for field in dataclasses.fields(self._batch):
            getattr(self._batch, field.name).copy_(getattr(batch, field.name))
        self._graph.replay()
        assert self._values is not None
        return dict(zip(self._names, self._values.clone(), strict=True))

    def _beside(self, batch: Batch) -> dict[str, Tensor]:
        """On a stream of its own, as what is recorded later will be."""
        here, stream = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            metrics = self._act(batch)
        here.wait_stream(stream)
        return metrics

    def _record(self, batch: Batch) -> None:
        tensors = {f.name: getattr(batch, f.name).clone() for f in dataclasses.fields(batch)}  # type: ignore[arg-type]
        self._batch = type(batch)(**tensors)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):  # nothing is run yet
            metrics = self._act(self._batch)
            self._names, self._values = list(metrics), torch.stack([value.float() for value in metrics.values()])
