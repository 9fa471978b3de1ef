"""Networks and distributions, against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from meld_core.nets import (
    Actor,
    Critics,
    Gaussian,
    ImageDecoder,
    ImageEncoder,
    KeypointEncoder,
    gaussian_kl,
    patches,
    tanh_gaussian_log_prob,
)


@pytest.mark.parametrize(
    ("q", "p", "expected"),
    [((1.0, 1.0), (0.0, 1.0), 0.5), ((0.0, 0.5), (0.0, 1.0), 0.318147), ((1.0, 0.5), (-1.0, 2.0), 1.417544)],
)
def test_kl_of_gaussians(q: tuple[float, float], p: tuple[float, float], expected: float) -> None:
    """MELD_SPEC check 5: closed form per dimension; two equal dimensions give twice as much."""
    tensors = [torch.full((2,), v) for v in (*q, *p)]
    assert gaussian_kl(*tensors).item() == pytest.approx(2 * expected, abs=1e-5)


def test_kl_of_a_fresh_head_with_zeroed_output() -> None:
    """MELD_SPEC check 5: std = ln 2 + 1e-5 and mean 0 give 0.106732 nats per dimension against N(0, 1)."""
    head = Gaussian(4, 8, 64)
    torch.nn.init.zeros_(head.layers[-1].weight)
    torch.nn.init.zeros_(head.layers[-1].bias)
    mean, std = head(torch.randn(1, 4))
    assert gaussian_kl(mean, std, torch.zeros(64), torch.ones(64)).item() == pytest.approx(6.83084, abs=1e-4)


@pytest.mark.parametrize(("u", "expected"), [(0.0, -0.918939), (1.0, -0.551377)])
def test_tanh_gaussian_log_prob(u: float, expected: float) -> None:
    """MELD_SPEC check 8: standard normal before the squash."""
    log_prob = tanh_gaussian_log_prob(torch.zeros(1), torch.zeros(1), torch.tensor([u]))
    assert log_prob.item() == pytest.approx(expected, abs=1e-5)


def test_tanh_gaussian_density_integrates_to_one() -> None:
    """Over (-1, 1), with mean 0.3 and std 0.8."""
    u = torch.linspace(-12, 12, 400_001, dtype=torch.float64)[:, None]
    mean, log_std = torch.full_like(u, 0.3), torch.full_like(u, math.log(0.8))
    density = tanh_gaussian_log_prob(mean, log_std, u).exp()
    assert torch.trapezoid(density, torch.tanh(u[:, 0])).item() == pytest.approx(1.0, abs=1e-5)


def test_log_prob_survives_saturation() -> None:
    """1 - tanh² underflows at u = 30; the stable form does not: log N = -450.919, minus 2 (log 2 - 30)."""
    log_prob = tanh_gaussian_log_prob(torch.zeros(1), torch.zeros(1), torch.tensor([30.0]))
    assert log_prob.item() == pytest.approx(-0.5 * 900 - 0.918939 - 2 * (math.log(2) - 30.0), rel=1e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 32), (128, 64)])
def test_encoder_and_decoder_shapes(height: int, width: int) -> None:
    """MELD_SPEC check 2 for the default model: H/8 x W/8 blocks of four 4x4 patches, features; the decoder mirrors."""
    encoder = ImageEncoder(height, width, channels=4, features=10)
    image = torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8)
    assert patches(image).shape == (3, height // 8, width // 8, 4, 48)
    assert encoder.linear.in_features == 4 * height * width // 64
    assert encoder(image).shape == (3, 10)
    assert ImageDecoder(10, height, width, hidden=8)(torch.randn(3, 10)).shape == image.shape


def test_encoder_equals_the_convolutions_that_it_stands_for() -> None:
    """Kernel 4, stride 4 and kernel 2, stride 2, with the same numbers as weights."""
    torch.manual_seed(0)
    encoder = ImageEncoder(16, 24, channels=5, features=7)
    image = torch.randint(0, 256, (2, 16, 24, 3), dtype=torch.uint8)
    fine = encoder.fine.weight.unflatten(1, (4, 4, 3)).permute(0, 3, 1, 2)
    coarse = encoder.coarse.weight.unflatten(1, (2, 2, 5)).permute(0, 3, 1, 2)
    x = F.silu(F.conv2d(image.permute(0, 3, 1, 2).float() / 255.0 - 0.5, fine, encoder.fine.bias, stride=4))
    x = F.silu(F.conv2d(x, coarse, encoder.coarse.bias, stride=2)).permute(0, 2, 3, 1).flatten(1)
    expected = F.silu(encoder.norm(encoder.linear(x)))
    torch.testing.assert_close(encoder(image), expected, rtol=1e-4, atol=1e-5)


def test_keypoints_are_where_a_feature_is() -> None:
    """Two stacked 16x16 views; a white 2x2 spot at row 6, column 1 of the lower one's 8x8 cells; filters of 1.

    The grid runs from -3 to 3 in 8 cells: column 1 is -3 + 6/7, row 6 is -3 + 36/7. The black upper view has no spot:
    uniform maps, keypoint at the centre, 0.
    """
    encoder = KeypointEncoder((32, 16), views=2, channels=1, keypoints=1, features=4)
    for layer in (m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)):
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
        with torch.no_grad():
            layer.weight[0, :, layer.kernel_size[0] // 2, layer.kernel_size[0] // 2] = 1.0
    image = torch.zeros(1, 32, 16, 3, dtype=torch.uint8)
    image[0, 16 + 12 : 16 + 14, 2:4] = 255
    seen: list[torch.Tensor] = []
    encoder.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(image)
    assert seen[0][0].tolist() == pytest.approx([0.0, 0.0, -3 + 6 / 7, -3 + 36 / 7], abs=1e-3)


def test_keypoint_features_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    encoder = KeypointEncoder((32, 16), views=2, channels=4, keypoints=3, features=8)
    images = torch.randint(0, 256, (70, 32, 16, 3), dtype=torch.uint8)
    alone = torch.cat([encoder(images[i : i + 1]) for i in range(70)])
    torch.testing.assert_close(encoder(images), alone, rtol=1e-4, atol=1e-5)


def test_encoder_says_which_setting_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"divisible by 8, got 20x20 .*model\.shrink"):
        ImageEncoder(20, 20, 4, 8)


def test_critics_are_independent_members() -> None:
    """Member i of the ensemble depends on its own weights only."""
    torch.manual_seed(0)
    critics = Critics(belief=5, actions=3, hidden=7, members=2)
    belief, action = torch.randn(4, 5), torch.randn(4, 3)
    before = critics(belief, action)
    with torch.no_grad():
        critics.layers[0].weight[1] += torch.randn(8, 7)  # LayerNorm would undo a constant
    after = critics(belief, action)
    assert before.shape == (2, 4)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_zero_noise_gives_the_mean_action() -> None:
    actor = Actor(belief=5, hidden=8, actions=3)
    belief = torch.randn(2, 5)
    action, _ = actor.sample(belief, torch.zeros(2, 3))
    assert torch.equal(action, torch.tanh(actor(belief)[0]))


def test_the_keypoint_encoder_sees_the_same_in_one_picture_as_in_many():
    """A single picture takes a way of its own (all views in one convolution of groups)."""
    torch.manual_seed(0)
    encoder = KeypointEncoder((32, 16), 2, 4, 3, 8)
    images = torch.randint(0, 256, (3, 32, 16, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat([encoder(image[None]) for image in images]), encoder(images))


def test_bf16_rounds_hidden_layers_and_never_the_value_itself() -> None:
    """0.123456 has no bf16 neighbour nearer than 2e-4: a last layer that was rounded would show."""
    torch.manual_seed(0)
    critics = Critics(belief=6, actions=2, hidden=32, members=2)
    belief, action = torch.randn(64, 6), torch.rand(64, 2)
    exact = critics(belief, action)
    critics.bf16 = True
    rounded = critics(belief, action)
    assert rounded.dtype == torch.float32
    assert 0.0 < (rounded - exact).abs().max() < 0.02 * exact.abs().max()
    last = critics.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(0.123456)
    torch.testing.assert_close(critics(belief, action), torch.full((2, 64), 0.123456), rtol=0.0, atol=1e-7)
    assert not Actor(belief=6, hidden=8, actions=2).bf16, "an actor acts exactly"


def test_the_decoder_meets_few_batch_sizes_and_nobody_sees_the_padding() -> None:
    """1 to 40 rows come to its layers as 16, 32 or 48: oneDNN keeps megabytes for each size of a bf16 product."""
    decoder, sizes = ImageDecoder(10, 8, 8, hidden=8), set()
    decoder.layers.register_forward_pre_hook(lambda _, inputs: sizes.add(len(inputs[0])))
    x = torch.randn(40, 10)
    whole = decoder.layers(x).unflatten(-1, (8, 8, 3)) + 0.5
    sizes.clear()
    for count in range(1, 41):
        torch.testing.assert_close(decoder(x[:count]), whole[:count])
    assert sizes == {16, 32, 48}
