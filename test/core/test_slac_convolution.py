"""Convolutions of the published model against the plain layers of the same weights: values, gradients, precision."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from meld_core.slac.convolution import Doubling, Halving, ToPixels

from .learning import one_thread

on_one_thread = pytest.fixture(autouse=True)(one_thread)
Layer = Halving | Doubling | ToPixels


def plain(layer: Layer, x: Tensor) -> Tensor:
    """What torch makes of the layer."""
    if isinstance(layer, Halving):
        return F.leaky_relu(F.conv2d(x, layer.weight, layer.bias, 2, layer.padding), 0.2)
    y = F.conv_transpose2d(x, layer.weight, layer.bias, 2, layer.padding, layer.output_padding)
    return y if isinstance(layer, ToPixels) else F.leaky_relu(y, 0.2)


def results(layer: Layer, make: object, x: Tensor, upon: Tensor) -> list[Tensor]:
    """The result, and the gradients of input, weight and bias where `upon` is its own."""
    x = x.clone().requires_grad_(True)
    y = make(x)  # type: ignore[operator]
    return [y, *torch.autograd.grad(y, [x, layer.weight, layer.bias], upon)]


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("width", [4, 16], ids=["by_patches", "large"])
@pytest.mark.parametrize(
    ("kind", "channels", "size"),
    [(Halving, (5, 6), 3), (Halving, (3, 4), 5), (Doubling, (6, 5), 3), (ToPixels, (6, 3), 5)],
)
def test_values_and_gradients(
    *, kind: type[Layer], channels: tuple[int, int], size: int, width: int, views: int
) -> None:
    torch.manual_seed(0)
    layer = kind(*channels, size, views)
    torch.nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    x = torch.randn(2, channels[0], views * width, width).contiguous(memory_format=torch.channels_last)
    upon = torch.randn_like(plain(layer, x))
    for ours, theirs in zip(
        results(layer, layer, x, upon), results(layer, lambda x: plain(layer, x), x, upon), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain(layer, x), rtol=1e-4, atol=1e-4)


def test_a_scale_is_a_factor_on_the_input() -> None:
    torch.manual_seed(0)
    layer, x = Halving(3, 4, 5, 1), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layer(x, scale=0.25), layer(0.25 * x))


@pytest.mark.parametrize("kind", [Halving, Doubling, ToPixels])
def test_bf16_is_near_and_its_gradients_are_fp32(kind: type[Layer]) -> None:
    """Within 1 % of the norm of what torch makes of the layer in bf16; a gradient of fp32 has another slope near 0."""
    torch.manual_seed(0)
    layer, x = kind(16, 16, 3, 1), torch.randn(8, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    half, upon = copy.deepcopy(layer).bfloat16(), torch.randn_like(plain(layer, x)).bfloat16()
    theirs = results(half, lambda x: plain(half, x.bfloat16()), x, upon)
    ours = results(layer, lambda x: layer(x.bfloat16()), x, upon)
    assert ours[0].dtype == torch.bfloat16
    assert [r.dtype for r in ours[1:]] == [torch.float32] * 3
    for a, b in zip(ours, theirs, strict=True):
        assert ((a.float() - b.float()).norm() / b.float().norm()).item() < 0.01


def test_pixels_of_a_single_place_by_hand() -> None:
    """One input place of value 1: the kernel itself, from its third row and column on, as far as the picture goes."""
    layer = ToPixels(1, 1, 5, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(25.0).reshape(1, 1, 5, 5))
        layer.bias.fill_(0.5)  # type: ignore[union-attr]
        assert layer(torch.ones(1, 1, 1, 1))[0, 0].tolist() == [[12.5, 13.5], [17.5, 18.5]]
