"""The published networks: parameter counts, shapes, fresh weights, the plain actor and critics (checks 1, 2 and 8)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from meld_core.config import Config, load_config
from meld_core.latent_model import make_latent_model
from meld_core.sac_nets import make_actor, make_critics
from meld_core.slac.model import SlacModel

from .learning import one_thread
from .slac_builder import tiny_slac, zero

on_one_thread = pytest.fixture(autouse=True)(one_thread)


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


def test_fresh_layers_are_glorot_uniform() -> None:
    """Bound sqrt(6 / (in + out)), biases 0, in the largest head of the published sizes."""
    head = SlacModel(published(1, 32, 32, 256)).filter.transition.layers[0]
    bound = math.sqrt(6.0 / (head.in_features + head.out_features))
    assert head.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert not head.bias.any()


def test_views_of_another_size_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"divisible by 16, the stack is 48x24 \[settings: sim\.image_size"):
        make_latent_model(tiny_slac("sim.image_size=24"))
