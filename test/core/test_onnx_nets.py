"""ONNX Runtime as the engine of a policy: torch's numbers but for their last bits, whatever weights come."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

from meld_core.agent import Agent
from meld_core.config import Config, ConfigError, check_engine, load_config
from meld_core.learner import Learner
from meld_core.onnx_nets import OnnxNets
from meld_core.trust.canary import Canary
from meld_core.weights import Weights, WeightsError

from .learning import actions_of, tiny_config
from .test_learner import Store

ONNX = "policy.engine=onnx"


def weights_of(config: Config, version: int, **tensors: torch.Tensor) -> Weights:
    """Fresh weights, every tensor shaken by other numbers; `tensors` in place of some."""
    made = Learner(config, Store([]), "demo").weights()
    shaken = {n: t + torch.linspace(-0.1, 0.1, t.numel()).reshape(t.shape) * version for n, t in made.tensors.items()}
    return dataclasses.replace(made, version=version, tensors={**shaken, **tensors})


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model.skip=true", "model.encoder=patches", "sim.image_size=32"),
        ("model.max_memory=0", "model.readout=false"),
        ("sac.network=plain", "model.observe_reward=false"),
        ("model.observe_first=false", "model.observe_tool=false", "model.readout=false"),
    ],
)
def test_actions_are_those_of_torch(overrides: tuple[str, ...]) -> None:
    """Before and after two other sets of weights, within 1e-5; what the weights change is a thousand times that."""
    config = tiny_config(ONNX, *overrides)
    plain, compiled = Agent(config), Agent(config, compiled=True)
    assert isinstance(compiled._nets, OnnxNets)
    assert not isinstance(plain._nets, OnnxNets)
    told: list[np.ndarray] = []
    for given in (None, weights_of(config, 1), weights_of(config, 2)):
        if given is not None:
            plain.load(given)
            compiled.load(given)
        expected = np.array(actions_of(plain, config))
        assert np.abs(np.array(actions_of(compiled, config)) - expected).max() < 1e-5
        told.append(expected)
    assert min(np.abs(told[0] - told[1]).max(), np.abs(told[1] - told[2]).max()) > 1e-2


def test_weights_that_were_equal_at_the_export_stay_apart() -> None:
    """The exporter merges constants of the same numbers, as fresh gains and biases may be; later ones are not."""
    config, other = tiny_config(ONNX), weights_of(tiny_config(ONNX), 2)
    plain, compiled = Agent(config), Agent(config)
    same = {name: torch.full_like(t, 0.05) for name, t in other.tensors.items()}
    compiled._nets = OnnxNets(config, compiled._nets.spare(same), compiled._blank())
    for agent in (plain, compiled):
        agent.load(other)
    assert np.abs(np.array(actions_of(compiled, config)) - np.array(actions_of(plain, config))).max() < 1e-5


def test_what_is_made_ready_leaves_alone_what_acts() -> None:
    config = tiny_config(ONNX)
    agent = Agent(config, compiled=True)
    agent.load(weights_of(config, 1))
    before = np.array(actions_of(agent, config))
    ready = agent.prepare(weights_of(config, 2))
    assert np.array_equal(np.array(actions_of(agent, config)), before)
    agent.load(ready)
    assert agent._nets is ready.nets
    assert not np.array_equal(np.array(actions_of(agent, config)), before)
    assert ready.nets._graphs[0] is Agent.prepare(agent, weights_of(config, 3)).nets._graphs[0]  # exported once


def test_the_belief_says_where_it_expects_reward() -> None:
    config = tiny_config(ONNX)
    beliefs = []
    for agent in (Agent(config), Agent(config, compiled=True)):
        actions_of(agent, config)
        beliefs.append(agent.believed_ports())
    for ours, theirs in zip(*beliefs, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_canary_refuses_weights_with_senseless_actions() -> None:
    """Every number is finite, their products are not."""
    config = tiny_config(ONNX)
    sound, canary = weights_of(config, 1), Canary(config, compiled=True)
    assert isinstance(canary.check(sound).nets, OnnxNets)
    huge = {name: torch.full_like(t, 3e38) for name, t in sound.tensors.items()}
    with pytest.raises(WeightsError, match="expected finite actions"):
        canary.check(weights_of(config, 2, **huge))


def test_a_missing_package_is_named_with_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_runtime(name: str, package: str | None = None) -> Any:
        return None if name == "onnxruntime" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_runtime)
    check_engine(load_config())
    with pytest.raises(ConfigError, match=r"onnxruntime is not installed: pip install .* or set policy\.engine=torch"):
        check_engine(load_config(overrides=[ONNX]))
    with pytest.raises(ConfigError, match=r"policy\.engine is onnx"):
        Agent(tiny_config(ONNX), compiled=True)


def test_a_filter_that_draws_noise_acts_by_torch() -> None:
    config = load_config(overrides=[ONNX, "model.kind=slac", "slac.base_depth=1", "sim.image_size=64"])
    assert type(Agent(config, compiled=True)._nets) is type(Agent(config)._nets)
