"""Losses of the published two-level model: likelihoods, KL and means, against numbers by hand (checks 3 to 7)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from meld_core.batch import TrialBatch, make_batch
from meld_core.config import LossConfig
from meld_core.slac.model import SlacModel, normal_log_likelihood

from .learning import hand_made, one_thread
from .slac_builder import CPU, NOISE, some_noise, tiny_model, tiny_slac, two_episodes, zero

PIXELS = 32 * 16 * 3  # of the tiny config's two views
on_one_thread = pytest.fixture(autouse=True)(one_thread)
model = pytest.fixture(tiny_model)


def batch_of(*rewards: list[float], **changes: float) -> TrialBatch:
    """One trial of one episode per list; `changes` fill whole columns."""
    trial = hand_made([list(r) for r in rewards])
    for name, value in changes.items():
        getattr(trial, name)[:] = value
    return make_batch([trial], CPU)


@pytest.mark.parametrize(
    ("size", "perfect", "worse"), [(64 * 64 * 3, 2855.166, 614.4), (128 * 64 * 3, 5710.332, 1228.8)]
)
def test_image_likelihood(size: int, perfect: float, worse: float) -> None:
    """Check 3: +0.232354 per number of a perfect picture; an error of 0.1 everywhere costs 0.05 per number."""
    values = [normal_log_likelihood(torch.tensor(error * size), 0.1, size).item() for error in (0.0, 0.01)]
    assert values[0] == pytest.approx(perfect, abs=0.01)
    assert values[0] - values[1] == pytest.approx(worse, rel=1e-4)


def test_image_likelihood_within_the_loss(model: SlacModel) -> None:
    """Check 3 through the model: grey frames of 102 / 255 = 0.4, decoded as 0.4 and as 0.5."""
    zero(model.image)
    batch = batch_of([0.0, 0.0, 0.0], image=102)
    for decoded, error in [(0.4, 0.0), (0.5, 0.01)]:
        nn.init.constant_(model.image.double4.bias, decoded)
        metrics = model.loss(batch, LossConfig(image_fraction=1.0))[1]
        assert metrics["model/image"].item() == pytest.approx(error, abs=1e-6)
        expected = PIXELS * (0.232354 - 5.0 * error)
        assert metrics["model/image_log_likelihood"].item() == pytest.approx(expected, rel=1e-4)


def test_reward_likelihood_within_the_loss(model: SlacModel) -> None:
    """Check 4: 0.690499 where the reward is right, 0.5 less at an error of 0.2; it counts ten times."""
    zero(model.reward)
    zero(model.image)
    losses = []
    for reward, expected in [(0.0, 0.690499), (0.2, 0.190499)]:
        batch = batch_of([0.0, 0.0, 0.0], shaped=reward)
        torch.manual_seed(0)
        loss, metrics = model.loss(batch, LossConfig(image_fraction=1.0))
        assert metrics["model/reward_log_likelihood"].item() == pytest.approx(expected, abs=1e-5)
        losses.append(loss.item())
    assert losses[1] - losses[0] == pytest.approx(10 * 0.5, rel=1e-3)


def test_kl_of_fresh_heads(model: SlacModel) -> None:
    """Check 5: with zeroed outputs std is ln 2 + 1e-5: 0.106732 nats for each z1 at index 0, then exactly 0."""
    for head in (model.filter.first_posterior, model.filter.posterior, model.filter.prior):
        zero(head.layers[-1])
    start = model.filter.initial(1)
    inputs = two_episodes()
    path = model.filter.filter(inputs, start, some_noise(8))
    kl = model._kl(path, inputs.previous_action, LossConfig())[0].tolist()
    assert kl[0] == pytest.approx(3 * 0.106732, abs=1e-5)
    assert kl[1:] == [0.0] * 7


def test_z2_has_no_kl_and_one_network(model: SlacModel) -> None:
    """Check 6: a trial of one row has the KL of its z1 alone, whatever the network of z2; that one is prior, too."""
    batch = batch_of([0.0])
    before = model.loss(batch, LossConfig())[1]["model/kl"].item()
    nn.init.constant_(model.filter.first_transition.layers[-1].bias, 3.0)
    assert model.loss(batch, LossConfig())[1]["model/kl"].item() == before
    assert {name.split(".")[0] for name, _ in model.filter.named_parameters()} == {
        "encoder", "first_posterior", "first_transition", "prior", "posterior", "transition"
    }  # fmt: skip


def test_prior_follows_the_posteriors_samples(model: SlacModel) -> None:
    """The KL at row t changes with the noise of z2 at row t-1, and with no later noise."""
    inputs, start = two_episodes(), model.filter.initial(1)
    noise = some_noise(8)
    other = noise.clone()
    other[:, 2, 3:] += 1.0

    def kl(drawn: Tensor) -> Tensor:
        return model._kl(model.filter.filter(inputs, start, drawn), inputs.previous_action, LossConfig())

    assert (kl(noise) != kl(other))[0].tolist() == [False] * 3 + [True] * 5


def test_loss_is_a_mean_over_rows(model: SlacModel) -> None:
    """Check 7: with heads that do not look at the state the likelihoods do not depend on the length of the trial."""
    zero(model.image)
    zero(model.reward)
    parts = [model.loss(batch_of([0.0] * n, image=100, shaped=0.3), LossConfig())[1] for n in (3, 6)]
    for name, expected in [("model/image", (100 / 255) ** 2), ("model/reward", 0.09)]:
        assert [p[name].item() for p in parts] == pytest.approx([expected] * 2, rel=1e-3)


def test_bf16_losses_agree_with_fp32() -> None:
    """Within 1 %, with a decoder that says something: every part."""
    results = []
    for bf16 in ("true", "false"):
        torch.manual_seed(0)
        model = SlacModel(tiny_slac(f"slac.bf16={bf16}", "slac.base_depth=8"))
        nn.init.normal_(model.image.double4.weight, std=0.3)
        torch.manual_seed(1)
        results.append(model.loss(batch_of([0.0] * 5, shaped=0.3), LossConfig(image_fraction=1.0))[1])
    for name, value in results[1].items():
        assert results[0][name].item() == pytest.approx(value.item(), rel=0.01), name
    assert results[0]["model/image"].item() != results[1]["model/image"].item()


def test_decoding_a_share_of_the_frames_has_the_same_expectation(model: SlacModel) -> None:
    """Four frames with errors of their own: the mean over all ways to draw one is the full mean."""
    torch.manual_seed(0)
    latent, image = torch.randn(4, NOISE), torch.randint(0, 256, (4, 32, 16, 3), dtype=torch.uint8)
    full, pixels = model._image_error(latent, image, 1.0)
    assert pixels == PIXELS
    drawn = [model._image_error(latent, image, 0.25)[0].item() for _ in range(24)]
    singles = [model._image_error(latent[i : i + 1], image[i : i + 1], 1.0)[0].item() for i in range(4)]
    assert full.item() == pytest.approx(float(np.mean(singles)), rel=1e-5)
    assert {round(d, 1) for d in drawn} == {round(s, 1) for s in singles}
