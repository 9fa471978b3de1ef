"""Descent: an optimizer for each part of the learner, their rates along a run, and a guard: finite gradients only."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from meld_core.config import LearnerConfig
from meld_core.storage import checkpoint


class Descent:
    """Adam for each part.

    Args:
        parts: Name → its parameters. The part "model" has a rate of its own, all others that of the actor-critic.
        config: Rates, their decay, the bound of gradients.
        device: Where the parameters are. On a GPU rates are tensors, which recorded updates read.
    """

    def __init__(self, parts: Mapping[str, list[Tensor]], config: LearnerConfig, device: torch.device) -> None:
        self._config, gpu = config, device.type == "cuda"
        self._optimizers = {
            name: torch.optim.Adam(
                parameters,
                lr=torch.tensor(self._first_rate(name), device=device) if gpu else self._first_rate(name),
                fused=True,
                capturable=gpu,
            )
            for name, parameters in parts.items()
        }
        self._skipped = torch.zeros((), device=device)

    def _first_rate(self, name: str) -> float:
        return self._config.model_rate if name == "model" else self._config.sac_rate

    @property
    def rates(self) -> dict[str, float]:
        """Of each part, now."""
        return {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in self._optimizers.items()}

    @property
    def skipped(self) -> int:
        """Steps since `begin` that were left out, because a gradient was not finite."""
        return int(self._skipped)

    def begin(self, progress: float) -> None:
        """A round begins: rates for this share of the run, nothing skipped yet."""
        config = self._config
        span = max(1e-9, config.decay_until - config.decay_from)
        factor = 1.0 + (config.decay_to - 1.0) * min(1.0, max(0.0, (progress - config.decay_from) / span))
        for name, optimizer in self._optimizers.items():
            rate, group = factor * self._first_rate(name), optimizer.param_groups[0]
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._skipped.zero_()

    def step(self, name: str, loss: Tensor, module: nn.Module | None = None) -> None:
        """Descend, unless a gradient is not finite. The optimizer itself looks at that: a GPU is not waited for.

        Args:
            name: Of the part.
            loss: Scalar.
            module: Whose gradients are clipped; without one only the loss is looked at.
        """
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if module is None:
            size = loss.detach()
        else:
            limit = self._config.grad_clip or float("inf")
            size = nn.utils.clip_grad_norm_(module.parameters(), limit, foreach=True)
        unfit = (~torch.isfinite(size)).float()
        self._skipped += unfit
        optimizer.found_inf = unfit  # type: ignore[attr-defined]  # where torch.amp.GradScaler says it, too
        optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """'<part>.<index>.<name>' → tensor; rates are set by the schedule and not stored."""
        flat = {name: checkpoint.flatten_optimizer(optimizer) for name, optimizer in self._optimizers.items()}
        return {f"{name}.{k}": v for name, tensors in flat.items() for k, v in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `state`. Raises what torch raises where it does not fit (`checkpoint.fits`)."""
        for name, optimizer in self._optimizers.items():
            checkpoint.restore_optimizer(optimizer, checkpoint.under(tensors, f"{name}."))
