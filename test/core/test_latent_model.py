"""The default belief filter: persistence, causality, consistency between acting and training, gradient isolation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from meld_core.batch import Inputs, make_batch, to_inputs
from meld_core.config import ConfigError, LossConfig
from meld_core.latent_model import LATENT_MODELS, RecurrentModel, make_latent_model
from meld_core.sac import BeliefBatch, actor_loss, critic_loss, critic_target, temperature_loss

from .learning import changed, differs, hand_made, tiny_config

CPU = torch.device("cpu")
EPISODE = 4  # rows


@pytest.fixture
def model() -> RecurrentModel:
    torch.manual_seed(3)
    return make_latent_model(tiny_config())


def two_episodes() -> Inputs:
    return to_inputs([hand_made([[0, 0, 0, 1], [0, 0, 0, 1]], seed=5)], CPU)


def test_step_by_step_equals_the_batch_unroll(model: RecurrentModel) -> None:
    """MELD_SPEC check 16, index for index across the boundary, including the row of a missed tick."""
    inputs = two_episodes()
    inputs.observed[0, 2] = 0.0
    unrolled = model.filter.unroll(inputs)
    state = model.filter.initial(1)
    for t in range(2 * EPISODE):
        row = Inputs(**{f.name: getattr(inputs, f.name)[:, t] for f in dataclasses.fields(inputs)})
        state, belief = model.filter.update(state, row)
        torch.testing.assert_close(belief, unrolled[:, t], rtol=1e-5, atol=1e-6)


def test_padding_does_not_change_a_shorter_trial(model: RecurrentModel) -> None:
    short, long = hand_made([[0, 0, 1]], seed=1), hand_made([[0] * 6], seed=2)
    alone = model.filter.unroll(to_inputs([short], CPU))
    beside = model.filter.unroll(to_inputs([short, long], CPU))[:1, :3]
    torch.testing.assert_close(alone, beside, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["image", "tool", "reward", "previous_action"])
@pytest.mark.parametrize("row", [1, 5])
def test_causality(model: RecurrentModel, name: str, row: int) -> None:
    """MELD_SPEC check 17: what arrives at s changes no belief before s, and changes the belief at s."""
    inputs = two_episodes()
    different = differs(model.filter.unroll(inputs), model.filter.unroll(changed(inputs, name, row)))
    assert not any(different[:row])
    assert different[row]


def test_belief_persists_across_the_episodes_of_a_trial(model: RecurrentModel) -> None:
    """MELD_SPEC check 15: any observation of episode 1 changes the beliefs of episode 2 ..."""
    inputs = two_episodes()
    plain = model.filter.unroll(inputs)
    for row in range(EPISODE):
        assert all(differs(plain, model.filter.unroll(changed(inputs, "image", row)))[EPISODE:])


def test_a_new_trial_forgets_everything(model: RecurrentModel) -> None:
    """... and the same observations as a new trial give another belief, bit-identical whatever came before."""
    inputs = two_episodes()
    second = Inputs(**{f.name: getattr(inputs, f.name)[:, EPISODE:] for f in dataclasses.fields(inputs)})
    fresh = model.filter.unroll(second)
    assert all(differs(model.filter.unroll(inputs)[:, EPISODE:], fresh))
    assert torch.equal(fresh, model.filter.unroll(second))


def test_running_maximum_never_forgets(model: RecurrentModel) -> None:
    filtered = model.filter.filter(two_episodes(), model.filter.initial(1))
    assert (filtered.m.diff(dim=1) >= 0).all()


def test_a_missing_reward_is_no_zero(model: RecurrentModel) -> None:
    """reward_valid is an input: 'not known' and 'known to be 0' differ; the value itself does not count."""
    inputs = two_episodes()
    unknown = dataclasses.replace(inputs, reward_valid=inputs.reward_valid.clone())
    unknown.reward_valid[:, 2] = 0.0
    assert differs(model.filter.unroll(inputs), model.filter.unroll(unknown))[2]
    other = changed(unknown, "reward", 2)
    assert torch.equal(model.filter.unroll(unknown), model.filter.unroll(other))


def test_reward_can_be_taken_out_of_the_observation() -> None:
    """The SLAC control: no reward changes any belief."""
    model = make_latent_model(tiny_config("model.observe_reward=false"))
    inputs = two_episodes()
    assert torch.equal(model.filter.unroll(inputs), model.filter.unroll(changed(inputs, "reward", 3)))


def test_begin_of_an_episode_can_be_taken_out_of_the_observation() -> None:
    """Told by default, to filter and prior; switched off it changes nothing."""
    inputs = two_episodes()
    other = changed(inputs, "first_in_episode", 3)
    told, untold = (make_latent_model(tiny_config(f"model.observe_first={told}")) for told in ("true", "false"))
    assert differs(told.filter.unroll(inputs), told.filter.unroll(other))[3]
    assert torch.equal(untold.filter.unroll(inputs), untold.filter.unroll(other))
    for model, same in ((told, False), (untold, True)):
        state, action = model.filter.initial(1), torch.zeros(1, 3)
        first, later = (model.predict(state, action, torch.tensor([flag]))[0] for flag in (1.0, 0.0))
        assert torch.equal(first, later) is same


def test_gradient_isolation() -> None:
    """MELD_SPEC check 13: each loss reaches its own parameters only; target critics never have a gradient."""
    from meld_core.learner import Networks

    config = tiny_config()
    nets = Networks(config)
    beliefs = nets.model.filter.unroll(two_episodes())[0].detach()
    batch = BeliefBatch(
        belief=beliefs, action=torch.zeros(8, 3), reward=torch.ones(8), discount=torch.ones(8), next_belief=beliefs,
        intended=torch.zeros(8, 3), cloned=torch.ones(8),
    )  # fmt: skip

    def touched() -> set[str]:
        names = {n.split(".")[0] for n, p in nets.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        nets.zero_grad(set_to_none=True)
        return names

    make = make_batch([hand_made([[0, 0, 0, 1]], in_port=[[-1, 1, -1, 0]])], CPU)
    nets.model.loss(make, config.loss)[0].backward()
    assert touched() == {"model"}
    target = critic_target(nets.target_critics, nets.actor, torch.tensor(0.1), batch, True)
    critic_loss(nets.critics, target, batch)[0].backward()
    assert touched() == {"critics"}
    nets.critics.requires_grad_(False)
    loss, log_pi, _ = actor_loss(nets.actor, nets.critics, torch.tensor(0.1), batch, cloning=1.0)
    loss.backward()
    assert touched() == {"actor"}
    temperature_loss(nets.log_temperature, log_pi, -2.0).backward()
    assert touched() == {"log_temperature"}


def test_loss_is_a_mean_over_rows(model: RecurrentModel) -> None:
    """MELD_SPEC check 7: with identical rows the deterministic parts do not depend on the length of the trial."""
    weights = LossConfig(image_fraction=1.0, query_weight=0.0)
    for head in (model.prior, model.reward, model.tool, model.image):
        for parameter in head.parameters():
            torch.nn.init.zeros_(parameter)  # outputs no longer depend on the state
    parts = []
    for rows in (3, 6):
        trial = hand_made([[0.0] * rows])
        trial.image[:], trial.tool[:] = 100, 0.5
        batch = make_batch([trial], CPU)
        parts.append(model.loss(batch, weights)[1])
    for name, expected in [
        ("model/image", (100 / 255 - 0.5) ** 2),  # the decoder's zero output is grey
        ("model/tool", 3 * 0.25),
        ("model/reward", float(np.log(2.0))),
    ]:
        assert parts[0][name].item() == pytest.approx(expected, rel=1e-4)
        assert parts[1][name].item() == pytest.approx(expected, rel=1e-4)


def test_free_nats_and_balance_change_the_gradient_not_the_reported_value(model: RecurrentModel) -> None:
    batch = make_batch([hand_made([[0, 0, 0, 1]])], CPU)
    torch.manual_seed(0)
    plain = model.loss(batch, LossConfig())[1]["model/kl"].item()
    balanced = model.loss(batch, LossConfig(kl_balance=0.8))[1]["model/kl"].item()
    assert balanced == pytest.approx(plain, rel=1e-5)
    assert model.loss(batch, LossConfig(free_nats=plain + 1.0))[1]["model/kl"].item() >= plain + 0.999


def test_readout_in_numbers() -> None:
    """One decoded port at (0.5, 0, 0) seen from a tool at (0.5, 0.2, -0.4), in units of an action.

    Half the workspace is (60, 100, 25) mm, an action 20 mm: (0, -0.2 · 5, 0.4 · 1.25) actions. The query head, made to
    return ten times the z that it is asked, is asked at the seat, 10 mm or 0.4 units below the mouth: sigmoid(-4).
    """
    filter_ = make_latent_model(tiny_config("task.ports=1", "task.depth=0.010")).filter
    for parameter in [*filter_.ports.parameters(), *filter_.query.parameters()]:
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        filter_.ports[-1].bias[0] = 0.5
    filter_.query = torch.nn.Linear(17 + 3, 1)
    torch.nn.init.zeros_(filter_.query.weight), torch.nn.init.zeros_(filter_.query.bias)
    with torch.no_grad():
        filter_.query.weight[0, -1] = 10.0
    inputs = two_episodes()
    tool = torch.tensor([0.5, 0.2, -0.4]).expand(1, 8, 3)
    readout = filter_.readout(filter_.filter(inputs, filter_.initial(1)), tool)
    expected = [0.0, -1.0, 0.5, 1.0 / (1.0 + float(np.exp(4.0)))]
    torch.testing.assert_close(readout[0, 0], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_unknown_model_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown latent model 'recurent'.*did you mean 'recurrent'.*model\.kind"):
        make_latent_model(tiny_config("model.kind=recurent"))
    assert set(LATENT_MODELS) == {"recurrent", "slac"}
