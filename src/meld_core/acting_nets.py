"""ActingNets: the part of all weights that acting needs; TracedNets: the same without Python between its operations."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from meld_core.batch import Inputs
from meld_core.config import Config
from meld_core.latent_contract import ACTIONS, State
from meld_core.latent_model import make_latent_model
from meld_core.sac_nets import make_actor

_REHEARSALS = 4
"""Calls after which a recording runs at its full speed."""


class ActingNets(nn.Module):
    """Belief filter and actor."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.filter = make_latent_model(config).filter
        self.actor = make_actor(self.filter.belief_size, config.sac)

    def spare(self, tensors: Mapping[str, Tensor]) -> ActingNets:
        """Networks of the same shapes with other weights, which share nothing with these."""
        nets = ActingNets.__new__(ActingNets)
        nn.Module.__init__(nets)
        nets.filter, nets.actor = copy.deepcopy(self.filter), copy.deepcopy(self.actor)
        nets.load_state_dict(tensors)
        return nets

    def taken_over_by(self, others: ActingNets) -> ActingNets:
        """What acts once `others`, which are a spare of these, do."""
        return others

    def update(self, state: State, inputs: Inputs, noise: Tensor | None) -> tuple[State, Tensor]:
        """See `BeliefFilter.update`."""
        return self.filter.update(state, inputs, noise)

    def act(self, belief: Tensor, noise: Tensor) -> Tensor:
        """Belief (1, D), standard noise (1, A) → action (1, A) in [-1, 1]; the mean action where the noise is zero."""
        return _act(self.actor, belief, noise)


class TracedNets(ActingNets):
    """Belief filter and actor, recorded once by torch.jit.trace: the same operations, so the same numbers bit for bit.

    For filters without noise and for one row at a time that was observed, as an agent has it. There is one recording
    for all weights of a run: torch keeps whatever belongs to a recording for ever.
    """

    possible = hasattr(torch.jit, "trace")
    """torch says that it will not develop this further, and may leave it out one day."""

    def __init__(self, config: Config, nets: ActingNets, inputs: Inputs) -> None:
        """Record what `nets` do with `inputs` (1, ...). Half a second; not beside other threads that warn."""
        super().__init__(config)
        super().load_state_dict(nets.state_dict())
        self.eval()
        state = self.filter.initial(1)
        self._names = tuple(sorted(state))
        example = (*(state[name] for name in self._names), *parts_of(inputs))
        self._recorded = [  # in a list, so that they are no parts of the state dict
            _recorded(UpdateOnly(self.filter, self._names), example),
            _recorded(ActOnly(self.actor), (torch.zeros(1, self.filter.belief_size), torch.zeros(1, ACTIONS))),
        ]
        with torch.inference_mode():
            for _ in range(_REHEARSALS):
                self.act(self._recorded[0](*example)[-1], torch.zeros(1, ACTIONS))

    def update(self, state: State, inputs: Inputs, noise: Tensor | None) -> tuple[State, Tensor]:
        """See `BeliefFilter.update`."""
        *values, belief = self._recorded[0](*(state[name] for name in self._names), *parts_of(inputs))
        return dict(zip(self._names, values, strict=True)), belief

    def act(self, belief: Tensor, noise: Tensor) -> Tensor:
        """See `ActingNets.act`."""
        action: Tensor = self._recorded[1](belief, noise)
        return action

    def taken_over_by(self, others: ActingNets) -> ActingNets:
        """This recording with the tensors of `others`: they are pointed to, not copied."""
        self.filter, self.actor = others.filter, others.actor
        nets = UpdateOnly(self.filter, self._names), ActOnly(self.actor)
        for recorded, net in zip(self._recorded, nets, strict=True):
            theirs = dict(net.named_parameters())
            for name, parameter in recorded.named_parameters():
                parameter.data = theirs[name].data
        return self


class UpdateOnly(nn.Module):
    """A filter's update as a function of tensors only."""

    def __init__(self, filter_: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.filter, self._names = filter_, names

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The state's tensors, then those of the inputs → the next state's, then the belief."""
        count = len(self._names)
        update: Callable[..., tuple[State, Tensor]] = self.filter.update  # type: ignore[assignment]
        state, belief = update(dict(zip(self._names, values[:count], strict=True)), Inputs(*values[count:]))
        return (*(state[name] for name in self._names), belief)


class ActOnly(nn.Module):
    """`ActingNets.act` as a network."""

    def __init__(self, actor: nn.Module) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, belief: Tensor, noise: Tensor) -> Tensor:
        """See `ActingNets.act`."""
        return _act(self.actor, belief, noise)


def _act(actor: nn.Module, belief: Tensor, noise: Tensor) -> Tensor:
    mean, log_std = actor(belief)
    return torch.tanh(mean + log_std.exp() * noise)


def parts_of(inputs: Inputs) -> tuple[Tensor, ...]:
    return tuple(getattr(inputs, field.name) for field in dataclasses.fields(inputs))


def _recorded(net: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """Nothing else keeps the numbers (docs/PERFORMANCE.md)."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(net, example, check_trace=False)
