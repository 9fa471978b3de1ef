"""Beliefs of the published two-level model: causality, persistence, acting as in training (checks 14 to 19)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from meld_core.batch import Inputs, to_inputs
from meld_core.latent_model import make_latent_model
from meld_core.slac.model import SlacModel

from .learning import changed, differs, hand_made, one_thread
from .slac_builder import CPU, some_noise, tiny_model, tiny_slac, two_episodes, zero

EPISODE = 4  # rows
on_one_thread = pytest.fixture(autouse=True)(one_thread)
model = pytest.fixture(tiny_model)


def test_first_step_networks_matter_at_the_first_row_only(model: SlacModel) -> None:
    """Check 14: with a z2_0 that does not look at z1_0, another first posterior changes the first belief alone."""
    inputs, noise = two_episodes(), some_noise(8)
    zero(model.filter.first_transition)
    plain = model.filter.unroll(inputs, noise)
    nn.init.normal_(model.filter.first_posterior.layers[-1].bias)
    assert differs(plain, model.filter.unroll(inputs, noise)) == [True] + [False] * 7
    nn.init.normal_(model.filter.first_transition.layers[-1].bias)
    assert all(differs(plain, model.filter.unroll(inputs, noise)))


@pytest.mark.parametrize("sampled", [True, False])
def test_step_by_step_equals_the_batch_unroll(model: SlacModel, sampled: bool) -> None:
    """Check 16, index for index across the boundary, including a missed tick, by samples and by means."""
    inputs, noise = two_episodes(), some_noise(8) if sampled else None
    inputs.observed[0, 2] = 0.0
    unrolled = model.filter.unroll(inputs, noise)
    state = model.filter.initial(1)
    for t in range(2 * EPISODE):
        row = Inputs(**{f.name: getattr(inputs, f.name)[:, t] for f in dataclasses.fields(inputs)})
        state, belief = model.filter.update(state, row, None if noise is None else noise[:, t])
        torch.testing.assert_close(belief, unrolled[:, t], rtol=1e-5, atol=1e-6)


def test_a_missed_tick_is_predicted(model: SlacModel) -> None:
    """Where nothing was observed the belief holds the prior of z1, at a trial's first row N(0, I)."""
    inputs = two_episodes()
    inputs.observed[0, [0, 3]] = 0.0
    path = model.filter.filter(inputs, model.filter.initial(1), some_noise(8))
    mean, std = model.filter.prior(inputs.previous_action[:, 3], path.z2[:, 2])
    torch.testing.assert_close(path.belief[:, 3, :6], torch.cat([mean, std], dim=-1), rtol=1e-5, atol=1e-6)
    assert path.belief[0, 0, :6].tolist() == [0.0] * 3 + [1.0] * 3


def test_padding_does_not_change_a_shorter_trial(model: SlacModel) -> None:
    short, long = hand_made([[0, 0, 1]], seed=1), hand_made([[0] * 6], seed=2)
    alone = model.filter.unroll(to_inputs([short], CPU))
    beside = model.filter.unroll(to_inputs([short, long], CPU))[:1, :3]
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["image", "reward", "previous_action"])
@pytest.mark.parametrize("row", [1, 5])
def test_causality(model: SlacModel, name: str, row: int) -> None:
    """Check 17: what arrives at s changes no belief before s, and changes the belief at s."""
    inputs, noise = two_episodes(), some_noise(8)
    different = differs(model.filter.unroll(inputs, noise), model.filter.unroll(changed(inputs, name, row), noise))
    assert not any(different[:row])
    assert different[row]


def test_belief_persists_within_a_trial_and_not_beyond(model: SlacModel) -> None:
    """Check 15: every picture of episode 1 matters in episode 2; as a new trial the same rows give other beliefs."""
    inputs, noise = two_episodes(), some_noise(8)
    plain = model.filter.unroll(inputs, noise)
    for row in range(EPISODE):
        assert all(differs(plain, model.filter.unroll(changed(inputs, "image", row), noise))[EPISODE:])
    second = Inputs(**{f.name: getattr(inputs, f.name)[:, EPISODE:] for f in dataclasses.fields(inputs)})
    fresh = model.filter.unroll(second, noise[:, EPISODE:])
    assert all(differs(plain[:, EPISODE:], fresh))
    assert torch.equal(fresh, model.filter.unroll(second, noise[:, EPISODE:]))


@pytest.mark.parametrize("name", ["tool", "time", "first_in_episode"])
def test_what_is_no_input_changes_nothing(model: SlacModel, name: str) -> None:
    """Check 19: neither proprioception nor time nor the reset flag enters beliefs."""
    inputs, noise = two_episodes(), some_noise(8)
    assert torch.equal(model.filter.unroll(inputs, noise), model.filter.unroll(changed(inputs, name, 3), noise))


def test_reward_can_be_taken_out_of_the_observation() -> None:
    """The SLAC control: no reward changes any belief."""
    model, inputs = make_latent_model(tiny_slac("model.observe_reward=false")), two_episodes()
    noise = some_noise(8)
    assert torch.equal(model.filter.unroll(inputs, noise), model.filter.unroll(changed(inputs, "reward", 3), noise))
