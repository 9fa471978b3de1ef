"""The published two-level model: parameter counts, likelihoods, structure (checks 1 to 20 of the published method)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from meld_core.batch import Inputs, TrialBatch, make_batch, to_inputs
from meld_core.config import Config, LossConfig, load_config
from meld_core.latent_model import make_latent_model
from meld_core.sac_nets import make_actor, make_critics
from meld_core.slac.model import SlacModel, normal_log_likelihood

from .learning import hand_made, one_thread, tiny_config

CPU = torch.device("cpu")
EPISODE = 4  # rows
TINY = ("model.kind=slac", "slac.base_depth=2", "slac.latent1=3", "slac.latent2=5", "slac.reward_repeats=2")
PIXELS = 32 * 16 * 3  # of the tiny config's two views
NOISE = 3 + 5


def tiny_slac(*overrides: str) -> Config:
    return tiny_config(*TINY, *overrides)


on_one_thread = pytest.fixture(autouse=True)(one_thread)


@pytest.fixture
def model() -> SlacModel:
    torch.manual_seed(3)
    made = make_latent_model(tiny_slac()).eval()
    assert isinstance(made, SlacModel)
    return made


def two_episodes() -> Inputs:
    return to_inputs([hand_made([[0, 0, 0, 1], [0, 0, 0, 1]], seed=5)], CPU)


def some_noise(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(1, rows, NOISE, generator=torch.Generator().manual_seed(seed))


def batch_of(*rewards: list[float], **changes: float) -> TrialBatch:
    """One trial of one episode per list; `changes` fill whole columns."""
    trial = hand_made([list(r) for r in rewards])
    for name, value in changes.items():
        getattr(trial, name)[:] = value
    return make_batch([trial], CPU)


def changed(inputs: Inputs, name: str, row: int) -> Inputs:
    """The same inputs with one field of one row changed."""
    value = getattr(inputs, name).clone()
    value[:, row] = 255 - value[:, row] if name == "image" else value[:, row] + 1.0
    return dataclasses.replace(inputs, **{name: value})


def differs(a: Tensor, b: Tensor) -> list[bool]:
    return (a != b).any(-1)[0].tolist()


def zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def published(views: int, depth: int, latent1: int, latent2: int, hidden: int = 256) -> Config:
    names = ["external", "wrist"][:views]
    return load_config(overrides=[
        "model.kind=slac", "model.shrink=1", f"model.views={names}", f"slac.base_depth={depth}",
        f"slac.latent1={latent1}", f"slac.latent2={latent2}", f"sac.hidden={hidden}", "sac.network=plain",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("actions", "views", "depth", "latents", "parts", "total", "belief"),
    [
        (
            6,
            1,
            64,
            (64, 32),
            (5_748_864, 607_360, 328_768, 348_288, 626_816, 348_224, 2_340_483, 312_833),
            10_661_636,
            192,
        ),
        (
            7,
            2,
            64,
            (64, 32),
            (11_496_256, 607_360, 328_768, 348_800, 627_328, 348_736, 4_680_003, 312_833),
            18_750_084,
            192,
        ),
        (
            7,
            2,
            64,
            (128, 64),
            (11_496_256, 673_024, 394_368, 430_848, 709_376, 430_720, 6_252_867, 361_985),
            20_749_444,
            384,
        ),
        (
            9,
            2,
            64,
            (128, 64),
            (11_496_256, 673_024, 394_368, 431_872, 710_400, 431_744, 6_252_867, 361_985),
            20_752_516,
            384,
        ),
        (
            5,
            2,
            64,
            (64, 32),
            (11_496_256, 607_360, 328_768, 347_776, 626_304, 347_712, 4_680_003, 312_833),
            18_747_012,
            192,
        ),
        (
            6,
            1,
            32,
            (32, 256),
            (1_438_784, 156_224, 205_824, 149_568, 223_296, 272_896, 1_569_603, 140_033),
            4_156_228,
            576,
        ),
    ],
    ids=["cheetah", "reacher", "peg", "shelf", "widowx", "slac"],
)
def test_parameter_counts_of_the_model(
    *, actions: int, views: int, depth: int, latents: tuple[int, int], parts: tuple[int, ...], total: int, belief: int
) -> None:
    """Check 1: encoder, first posterior, first z2, prior, posterior, z2, image decoder, reward decoder."""
    with torch.device("meta"):
        model = SlacModel(published(views, depth, *latents), actions)
    f = model.filter
    modules = [f.encoder, f.first_posterior, f.first_transition, f.prior, f.posterior, f.transition]
    assert tuple(count(m) for m in [*modules, model.image, model.reward]) == parts
    assert count(model) == total
    assert f.belief_size == belief


@pytest.mark.parametrize(
    ("actions", "latents", "hidden", "actor", "critic", "model", "total"),
    [
        (6, (64, 32), 256, 118_284, 116_993, 10_661_636, 11_013_907),
        (7, (64, 32), 256, 118_798, 117_249, 18_750_084, 19_103_381),
        (7, (64, 32), 512, 368_654, 365_569, 18_750_084, 19_849_877),
        (7, (128, 64), 512, 466_958, 463_873, 20_749_444, 22_144_149),
        (9, (128, 64), 256, 168_978, 166_913, 20_752_516, 21_255_321),
        (5, (64, 32), 512, 366_602, 364_545, 18_747_012, 19_842_705),
        (6, (32, 256), 256, 216_588, 215_297, 4_156_228, 4_803_411),
    ],
)
def test_parameter_counts_of_actor_and_critics(
    *, actions: int, latents: tuple[int, int], hidden: int, actor: int, critic: int, model: int, total: int
) -> None:
    """Check 1: actor, each critic, and all that is trained: model, actor, two critics, temperature."""
    belief, sac = 2 * sum(latents), published(1, 64, *latents, hidden).sac
    counts = count(make_actor(belief, sac, actions)), count(make_critics(belief, sac, actions))
    assert counts == (actor, 2 * critic)
    assert model + sum(counts) + 1 == total


@pytest.mark.parametrize(("views", "sizes"), [(1, [32, 16, 8, 4]), (2, [64, 32, 16, 8])])
def test_shapes(views: int, sizes: list[int]) -> None:
    """Check 2: heights and widths of every layer, mirrored by the decoder; features of 512 + 32."""
    model = SlacModel(published(views, 64, 64, 32))
    given: list[tuple[int, ...]] = []
    for layer in [*model.filter.encoder.children()][1:]:
        layer.register_forward_hook(lambda _, args, __: given.append(tuple(args[0].shape[1:])))
    image = torch.zeros(1, 64 * views, 64, 3, dtype=torch.uint8)
    assert model.filter.encoder(image).shape == (1, 512)
    maps = [(h, h // views) for h in sizes]
    assert given == [*((c, *m) for c, m in zip([64, 128, 256], maps, strict=False)), (512 * 4 * views * 4,)]
    made: list[tuple[int, ...]] = []
    for layer in model.image.children():
        layer.register_forward_hook(lambda _, __, out: made.append(tuple(out.shape[1:])))
    assert model.image(torch.zeros(1, 96)).shape == image.shape
    widths = [512 * 4 * views * 4, 256, 128, 64, 3]
    assert made == [(widths[0],), *((c, *m) for c, m in zip(widths[1:], [*maps[2::-1], (64 * views, 64)], strict=True))]
    assert model.filter.first_posterior.layers[0].in_features == 544


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


def test_plain_actor_in_numbers() -> None:
    """Check 8 for the published actor: mean 0 and log std 0 give -0.918939 per action at 0; log std is clipped to 2."""
    sac = tiny_slac("sac.network=plain", "sac.spread=clipped").sac
    actor = make_actor(4, sac)
    zero(actor)
    action, log_pi = actor.sample(torch.ones(1, 4), torch.zeros(1, 3))
    assert action.tolist() == [[0.0] * 3]
    assert log_pi.item() == pytest.approx(-3 * 0.918939, abs=1e-5)
    nn.init.constant_(actor.layers[-1].bias, 9.0)
    assert actor(torch.ones(1, 4))[1].tolist() == [[2.0] * 3]
    nn.init.constant_(actor.layers[-1].bias, -99.0)
    assert actor(torch.ones(1, 4))[1].tolist() == [[-20.0] * 3]


def test_plain_critics_are_relu_networks() -> None:
    """Both members against the formula, from their own weights."""
    critics = make_critics(4, tiny_slac("sac.network=plain").sac)
    belief, action = torch.randn(5, 4), torch.randn(5, 3)
    q = critics(belief, action)
    weights = list(critics.parameters())
    for i in range(2):
        x = torch.cat([belief, action], dim=-1)
        for weight, bias in zip(weights[::2], weights[1::2], strict=True):
            x = x @ weight[i] + bias[i]
            x = x.relu() if weight is not weights[-2] else x
        torch.testing.assert_close(q[i], x.squeeze(-1), rtol=1e-5, atol=1e-6)


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


def test_fresh_layers_are_glorot_uniform() -> None:
    """Bound sqrt(6 / (in + out)), biases 0, in the largest head of the published sizes."""
    head = SlacModel(published(1, 32, 32, 256)).filter.transition.layers[0]
    bound = math.sqrt(6.0 / (head.in_features + head.out_features))
    assert head.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert not head.bias.any()


def test_views_of_another_size_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"divisible by 16, the stack is 48x24 \[settings: sim\.image_size"):
        make_latent_model(tiny_slac("sim.image_size=24"))
