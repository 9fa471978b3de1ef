"""Fault 19: damaged, foreign, older, senseless weights are refused with a reason, and the old policy stays."""

import dataclasses
import threading

import numpy as np
import pytest
import torch

from meld_core.agent import Agent
from meld_core.config import Config, load_config, to_mapping
from meld_core.learner import Learner
from meld_core.storage.chunks import split_message
from meld_core.trust.canary import Canary, _flags, _observation
from meld_core.trust.weights_gate import WeightsGate
from meld_core.trust.weights_intake import WeightsIntake
from meld_core.weights import Weights, WeightsError

from .learning import actions_of, tiny_config
from .test_learner import Store

CONFIG = tiny_config()


def weights(version=0, run="demo", config=CONFIG, **different):
    made = Learner(config, Store([]), run).weights()
    return dataclasses.replace(made, version=version, **different)


def changed(original, name, value):
    return dataclasses.replace(original, tensors={**original.tensors, name: value})


def refusal(data, gate=None):
    with pytest.raises(WeightsError) as caught:
        (gate or WeightsGate(CONFIG, "demo")).admit(data)
    return str(caught.value)


def test_newer_weights_pass_and_the_same_again_are_no_news():
    now = [10.0]
    gate = WeightsGate(CONFIG, "demo", clock=lambda: now[0])
    first, second = weights(0).to_bytes(), weights(1).to_bytes()
    assert gate.admit(first).version == 0
    assert gate.admit(second).version == 1
    assert gate.admit(second) is None
    assert gate.admit(first) is None  # known, although older
    now[0] = 12.5
    assert (gate.seconds_since(1), gate.seconds_since(7)) == (2.5, None)


def test_every_kind_of_bad_weights_is_refused_with_its_reason():
    good = weights(1)
    data = bytearray(good.to_bytes())
    data[-5] ^= 1
    assert "does not match its sha256" in refusal(bytes(data))
    assert "weights of run 'other' came, this is 'demo'" in refusal(weights(run="other").to_bytes())
    wider = tiny_config("model.memory=16")
    assert "model.memory=16" in refusal(weights(config=wider).to_bytes())
    other = tiny_config("learner.model_rate=0.5")
    assert "trained with another config than this run's" in refusal(weights(config=other).to_bytes())
    gate = WeightsGate(CONFIG, "demo")
    gate.admit(weights(5).to_bytes())
    assert refusal(weights(4).to_bytes(), gate) == "weights version 4 came, version 5 is here already"
    name = sorted(good.tensors)[0]
    shapes = changed(good, name, torch.zeros(3, 5, 7))
    assert "(3, 5, 7)" in refusal(shapes.to_bytes())
    extra = changed(good, "actor.more", torch.zeros(1))
    assert "as 'actor.more', the agent needs nothing" in refusal(extra.to_bytes())


def test_nan_cannot_even_be_made():
    good = weights()
    name = sorted(good.tensors)[0]
    with pytest.raises(WeightsError, match="NaN or infinity"):
        changed(good, name, torch.full_like(good.tensors[name], float("nan")))


def test_the_canary_refuses_finite_weights_with_senseless_actions():
    """Every number is finite, yet their products are not: the fixed observations show it."""
    good = weights()
    huge = {name: torch.full_like(t, 3e38) if t.is_floating_point() else t for name, t in good.tensors.items()}
    with pytest.raises(WeightsError, match="to the fixed observation 0, expected finite actions"):
        Canary(CONFIG).check(dataclasses.replace(good, tensors=huge))
    Canary(CONFIG).check(good)


def test_refused_weights_leave_the_agent_as_it_was():
    agent = Agent(CONFIG)
    agent.load(weights(0))
    before = {name: tensor.clone() for name, tensor in agent._nets.state_dict().items()}
    good = weights(1)
    last = sorted(good.tensors)[-1]
    other = {name: tensor + 1 for name, tensor in good.tensors.items()} | {last: torch.zeros(2, 3, 4, 5)}
    with pytest.raises(WeightsError):
        agent.load(dataclasses.replace(good, tensors=other))
    assert agent.weights_version == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in agent._nets.state_dict().items())


def test_the_canary_suits_the_default_config():
    config = Config()
    Canary(config).check(Weights(Agent(config)._nets.state_dict(), 0, -1, "x", to_mapping(config)))


def outcomes_of(intake):
    """Everything that comes of what was put in; an event that never comes fails the test."""
    patience, found = threading.Event(), []
    for _ in range(60_000):
        found += intake.take()
        if not intake.busy:
            return found
        patience.wait(0.001)
    raise AssertionError("the intake is still busy after a minute")


def test_weights_are_made_ready_while_the_old_ones_act():
    """The thread waits in the middle of its work: the agent acts on as before, and the swap changes all at once."""
    agent, gate = Agent(CONFIG), WeightsGate(CONFIG, "demo")
    agent.load(weights(0))
    admitting, go_on = threading.Event(), threading.Event()

    def slowly(data):
        admitting.set()
        assert go_on.wait(60.0)
        return gate.admit(data)

    intake = WeightsIntake(slowly)
    new = dataclasses.replace(weights(1), tensors={n: t * 1.5 for n, t in weights(1).tensors.items()})
    data = new.to_bytes()
    for piece in split_message(data, whole=10, size=len(data) // 3 + 1):
        intake.put(piece)
    assert admitting.wait(60.0)
    before = acts(agent)
    assert (intake.take(), intake.busy, agent.weights_version) == ([], True, 0)
    go_on.set()
    (ready,) = outcomes_of(intake)
    assert acts(agent) == before, "made ready is not taken"
    agent.load(ready)
    alone = Agent(CONFIG)
    alone.load(new)
    assert (agent.weights_version, agent.weights_digest) == (1, new.digest)
    assert acts(agent) == acts(alone) != before, "bit for bit as if loaded where it acts"
    intake.close()


def acts(agent):
    """What an agent does in the first trial's first step."""
    agent.begin_trial(3)
    agent.observe(_observation(CONFIG, 2), _flags(0), np.zeros(3, np.float32))
    return agent.act(greedy=True).tolist()


def test_an_intake_hands_over_in_order_what_may_act_and_why_the_rest_may_not():
    gate = WeightsGate(CONFIG, "demo")
    intake = WeightsIntake(gate.admit)
    for data in (weights(0).to_bytes(), b"no weights", weights(0).to_bytes(), weights(2).to_bytes()):
        intake.put(data)
    first, refused, second = outcomes_of(intake)
    assert (first.version, second.version) == (0, 2)
    assert isinstance(refused, WeightsError)
    intake.close()


def test_a_fault_of_the_program_in_the_thread_is_not_swallowed():
    def broken(_):
        raise KeyError("a bug")

    intake = WeightsIntake(broken)
    intake.put(b"weights")
    with pytest.raises(KeyError, match="a bug"):
        outcomes_of(intake)
    intake.close()


@pytest.mark.parametrize("overrides", [(), ("model.skip=true",), ("model.max_memory=0", "model.readout=false")])
def test_a_traced_agent_acts_bit_for_bit_as_one_that_is_not(overrides):
    """Before and after other weights, over two episodes, drawn and greedy; every picture, reward and flag differs."""
    config = tiny_config(*overrides)
    plain, traced = Agent(config), Agent(config, compiled=True)
    assert type(traced._nets) is not type(plain._nets)
    made = Learner(config, Store([]), "demo").weights()
    shaken = {n: t + torch.linspace(-0.1, 0.1, t.numel()).reshape(t.shape) for n, t in made.tensors.items()}
    for given in (None, dataclasses.replace(made, version=3, tensors=shaken)):
        for agent in (plain, traced):
            if given is not None:
                agent.load(given)
        ours, theirs = ([action.tobytes() for action in actions_of(agent, config)] for agent in (plain, traced))
        assert ours == theirs
        assert len(set(ours)) == 12, "not all the same, either"


def test_there_is_one_recording_for_all_weights_and_no_copy_of_it():
    """Torch never forgets a recording: one per version of weights made a policy grow by 30 kB each."""
    config = tiny_config()
    agent, made = Agent(config, compiled=True), Learner(config, Store([]), "demo").weights()
    nets, recorded = agent._nets, list(agent._nets._recorded)
    ready = [agent.prepare(dataclasses.replace(made, version=version)) for version in (1, 2)]
    pointers = [{parameter.data_ptr() for parameter in one.nets.parameters()} for one in ready]
    assert not pointers[0] & pointers[1]
    for one, theirs in zip(ready, pointers, strict=True):
        agent.load(one)
        assert (agent._nets, agent._nets._recorded) == (nets, recorded)
        assert {p.data_ptr() for record in recorded for p in record.parameters()} <= theirs
        assert not hasattr(one.nets, "_recorded")


def test_an_agent_whose_filter_draws_noise_is_not_traced():
    config = load_config(overrides=["model.kind=slac", "slac.base_depth=1", "sim.image_size=64"])
    assert type(Agent(config, compiled=True)._nets) is type(Agent(config)._nets)
