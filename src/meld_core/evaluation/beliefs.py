"""What a trial's beliefs say, row by row: recorded trials are filtered again by given weights, without a simulation."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from meld_core.acting_nets import ActingNets
from meld_core.batch import TOOL, Inputs, learner_trial, to_inputs
from meld_core.config import Config, known_ports
from meld_core.evaluation.scoring import live_in_episode
from meld_core.latent_model import RecurrentFilter, RecurrentModel, make_latent_model
from meld_core.storage import checkpoint
from meld_core.types import Trial
from meld_core.weights import Weights

_CPU = torch.device("cpu")
_FILTER, _MODEL = "filter.", "networks.model."


@dataclasses.dataclass(frozen=True)
class BeliefTrace:
    """Beliefs along one trial of N rows, greedily propagated."""

    state: np.ndarray
    """(N, D) float32: what the filter holds: latent (mean, deviation) and memories, without the readout."""
    expected: np.ndarray | None
    """(N, P) in [0, 1]: the reward that the belief expects in each port; None where a model has no query head,
    or knows another number of ports than the box has."""
    in_port: np.ndarray
    """(N, P) bool: whether the plug is seated in a port, from logged poses; no input of the filter."""
    reward: np.ndarray
    """(N,) sparse reward, 0 where it is not known."""
    first_in_episode: np.ndarray
    """(N,) bool."""
    live: np.ndarray
    """(N,) the live port: what a probe is asked for, no input of the filter."""
    may_move: bool = False
    """Whether the live port may move between the episodes of this task."""


class BeliefReader:
    """Filters recorded trials with one agent's weights."""

    def __init__(self, config: Config, weights: Weights, *, clear_belief: bool = False) -> None:
        """Raises WeightsError where the weights do not fit the config."""
        weights.check_fits(config)
        self._config, self._clear = config, clear_belief
        nets = ActingNets(config).eval()
        nets.load_state_dict(weights.tensors)
        self._filter = nets.filter

    @torch.inference_mode()
    def trace(self, trial: Trial, *, hide_reward: bool = False) -> BeliefTrace:
        """Beliefs along a recorded trial.

        Args:
            trial: Any trial of this config.
            hide_reward: Control: filter as if every reward had been 0.
        """
        rows = learner_trial(trial, self._config)
        if hide_reward:
            rows = dataclasses.replace(rows, reward=np.zeros_like(rows.reward))
        starts = [*np.flatnonzero(rows.first_in_episode).tolist(), len(rows)]
        cuts = [*itertools.pairwise(starts)] if self._clear else [(0, len(rows))]
        inputs = to_inputs([rows], _CPU)
        parts = [self._read(_between(inputs, *cut)) for cut in cuts]
        expected = [part[1] for part in parts if part[1] is not None]
        return BeliefTrace(
            state=np.concatenate([part[0] for part in parts]),
            expected=np.concatenate(expected) if expected else None,
            in_port=rows.in_port,
            reward=rows.reward,
            first_in_episode=rows.first_in_episode,
            live=np.concatenate(
                [np.full(part.stop - part.start, live_in_episode(trial, part)) for part in trial.episodes()]
            ),
            may_move=bool(trial.meta.task.get("later_live")),
        )

    def _read(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray | None]:
        """State (N, D) and expected reward (N, P) of one trial's inputs (1, N, ...)."""
        if not isinstance(self._filter, RecurrentFilter):
            return self._filter.unroll(inputs)[0].numpy(), None
        filtered = self._filter.filter(inputs, self._filter.initial(1))
        state = torch.cat([filtered.mean, filtered.std, filtered.h, filtered.m], dim=-1)
        if known_ports(self._config) != self._config.task.ports:  # which of its ports is which of the box's?
            return state[0].numpy(), None
        readout = self._filter.readout(filtered, inputs.tool).unflatten(-1, (-1, TOOL + 1))
        return state[0].numpy(), readout[0, ..., TOOL].numpy()


def _between(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Some rows of inputs (B, L, ...)."""
    return Inputs(**{f.name: getattr(inputs, f.name)[:, start:stop] for f in dataclasses.fields(inputs)})


class Reconstructor:
    """Decodes what a belief remembers of the picture; the decoder lives in a learner's checkpoint, not in weights."""

    def __init__(self, config: Config, tensors: Mapping[str, Tensor]) -> None:
        self._config = config
        model = make_latent_model(config).eval()
        assert isinstance(model, RecurrentModel)
        model.load_state_dict(checkpoint.under(tensors, _MODEL))
        self._model = model

    @torch.inference_mode()
    def pictures(self, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """What the model was shown and what it decodes from the belief, (N, h, w, 3) uint8 each, views stacked."""
        inputs = to_inputs([learner_trial(trial, self._config)], _CPU)
        filtered = self._model.filter.filter(inputs, self._model.filter.initial(1))
        state = torch.cat([filtered.mean, filtered.h, filtered.m], dim=-1)[0]
        decoded = (self._model.image(state) * 255.0).round().clamp(0.0, 255.0)
        return inputs.image[0].numpy(), decoded.to(torch.uint8).numpy()


def find_reconstructor(config: Config, checkpoints: Path, weights: Weights) -> Reconstructor | None:
    """The decoder that was trained with these weights; None where no checkpoint holds exactly their filter.

    Raises:
        CheckpointError: where the newest checkpoint is damaged.
    """
    paths = sorted(checkpoints.glob("*.safetensors"))
    if config.model.kind != "recurrent" or not paths:
        return None
    tensors, _ = checkpoint.read(paths[-1])
    theirs = checkpoint.under(tensors, f"{_MODEL}{_FILTER}")
    ours = checkpoint.under(weights.tensors, _FILTER)
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    return Reconstructor(config, tensors) if same else None
