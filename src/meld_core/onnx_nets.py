"""OnnxNets: what acts, computed by ONNX Runtime (`policy.engine=onnx`), an optional package."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from meld_core.acting_nets import ActingNets, ActOnly, UpdateOnly, parts_of
from meld_core.batch import Inputs
from meld_core.config import Config, check_engine
from meld_core.latent_contract import ACTIONS, State

_OPSET = 17
"""The first version of ONNX that knows LayerNorm."""
_INPUT = "input"
"""Inputs of a graph are called this and their place among the network's."""


class OnnxNets(ActingNets):
    """Belief filter and actor: in less time than torch's, the same numbers but for their last bits.

    For filters without noise and for one row at a time that was observed, as an agent has it. The graphs are exported
    once; other weights are put into copies of them, which takes about 25 ms in whatever thread.
    """

    def __init__(self, config: Config, nets: ActingNets, inputs: Inputs) -> None:
        """Export what `nets` do with `inputs` (1, ...). A second; not beside other threads that warn.

        Raises:
            ConfigError: where a package is missing.
        """
        check_engine(config)
        super().__init__(config)
        self.load_state_dict(nets.state_dict())
        self.eval()
        self._names = tuple(sorted(self.filter.initial(1)))
        example = (*(self.filter.initial(1)[name] for name in self._names), *parts_of(inputs))
        belief = torch.zeros(1, self.filter.belief_size), torch.zeros(1, ACTIONS)
        odd = super().spare(_all_different(self.state_dict()))  # the exporter would merge weights that are equal now
        update, act = UpdateOnly(odd.filter, self._names), ActOnly(odd.actor)
        self._graphs = [_exported(update, example), _exported(act, belief)]
        self._make_sessions()

    def spare(self, tensors: Mapping[str, Tensor]) -> OnnxNets:
        """See `ActingNets.spare`."""
        nets = OnnxNets.__new__(OnnxNets)
        nn.Module.__init__(nets)
        others = super().spare(tensors)
        nets.filter, nets.actor, nets._names, nets._graphs = others.filter, others.actor, self._names, self._graphs
        nets._make_sessions()
        return nets

    def update(self, state: State, inputs: Inputs, noise: Tensor | None) -> tuple[State, Tensor]:
        """See `BeliefFilter.update`."""
        *values, belief = self._update(*(state[name] for name in self._names), *parts_of(inputs))
        return dict(zip(self._names, values, strict=True)), belief

    def act(self, belief: Tensor, noise: Tensor) -> Tensor:
        """See `ActingNets.act`."""
        return self._act(belief, noise)[0]

    def _make_sessions(self) -> None:
        update, act = UpdateOnly(self.filter, self._names), ActOnly(self.actor)
        self._update, self._act = (
            _Session(graph, net.state_dict()) for graph, net in zip(self._graphs, (update, act), strict=True)
        )


class _Session:
    """One graph with one set of weights. Called with its inputs in order; as many outputs."""

    def __init__(self, graph: bytes, weights: Mapping[str, Tensor]) -> None:
        import onnx
        import onnxruntime

        model = onnx.load_from_string(graph)  # a message that is written to again and again only grows
        for constant in model.graph.initializer:
            if constant.name in weights:
                constant.CopyFrom(onnx.numpy_helper.from_array(weights[constant.name].numpy(), constant.name))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the other core is the learner's
        options.log_severity_level = 3  # errors: a warning is about nothing that a person could change
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        # Inputs that the network ignores are not among them.
        self._inputs = [(put.name, int(put.name.removeprefix(_INPUT))) for put in self._session.get_inputs()]

    def __call__(self, *values: Tensor) -> Sequence[Tensor]:
        feed = {name: values[i].numpy() for name, i in self._inputs}
        return [torch.from_numpy(np.asarray(value)) for value in self._session.run(None, feed)]


def _all_different(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of these shapes of which no two are equal."""
    return {
        name: torch.linspace(0.1, 0.2 + 0.01 * i, tensor.numel()).reshape(tensor.shape)
        for i, (name, tensor) in enumerate(tensors.items())
    }


def _exported(net: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """The network as a serialised ONNX model; its weights are constants named as in its state dict."""
    names = [f"{_INPUT}{i}" for i in range(len(example))]
    options: dict[str, Any] = {"opset_version": _OPSET, "do_constant_folding": False, "dynamo": False}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, example, file := Path(folder) / "net.onnx", input_names=names, **options)
        return file.read_bytes()
