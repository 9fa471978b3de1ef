"""Networks of the published model (Lee et al. 2020, Zhao et al. 2020): image encoder and decoder, Gaussian heads.

Views are stacked vertically, V of them (V H, W): as in MELD, kernels and strides stay and every kernel is V times as
high, so that one view has 5x5 and 3x3 kernels and two have 10x5 and 6x3. For 64x64 views the last layer covers 4x4
(times V) and leaves one pixel. That layer, and the first one of the decoder, see each input once: they are written as
linear layers, which cost less than convolutions. Padding is symmetric; TensorFlow's "SAME" is shifted by one pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meld_core.slac.convolution import SLOPE, Doubling, Halving, ToPixels

_MIN_STD = 1e-5
_STRIDES = 16
"""Four convolutions of stride 2."""
_BLOCK = 16
"""Frames are padded to multiples of this: a convolution is compiled anew for every batch size that it meets."""


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2."""
    return F.leaky_relu(x, SLOPE)


def start_like_published(module: nn.Module) -> None:
    """Weights Glorot uniform, biases 0, in every layer of a module."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def smallest_map(height: int, width: int) -> tuple[int, int]:
    """Height and width behind four halvings.

    Raises:
        ValueError: where they do not come out even.
    """
    if height % _STRIDES or width % _STRIDES:
        raise ValueError(
            f"the published encoder needs views of a size divisible by {_STRIDES}, the stack is {height}x{width} "
            "[settings: sim.image_size, model.shrink]"
        )
    return height // _STRIDES, width // _STRIDES


class TypedLinear(nn.Linear):
    """A linear layer that computes in the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) → (..., outputs)."""
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class StackedEncoder(nn.Module):
    """(N, V H, W, 3) uint8 → (N, 8 b) features: five convolutions, leaky ReLU behind each."""

    def __init__(self, size: tuple[int, int], views: int, depth: int) -> None:
        super().__init__()
        rows, columns = smallest_map(*size)
        self.halve1 = Halving(3, depth, 5, views)
        self.halve2 = Halving(depth, 2 * depth, 3, views)
        self.halve3 = Halving(2 * depth, 4 * depth, 3, views)
        self.halve4 = Halving(4 * depth, 8 * depth, 3, views)
        self.last = TypedLinear(rows * columns * 8 * depth, 8 * depth)
        start_like_published(self)

    def forward(self, image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, V H, W, 3) uint8 → (N, 8 b) float32, computed in `dtype`.

        The first layer's weights make [0, 1] of bytes, which bf16 holds exactly.
        """
        x = _padded(image).permute(0, 3, 1, 2).to(dtype)  # channels last, as the bytes lie
        x = self.halve1(x, scale=1.0 / 255.0)
        for layer in (self.halve2, self.halve3, self.halve4):
            x = layer(x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return leaky(self.last(x))[: len(image)].float()


class StackedDecoder(nn.Module):
    """(N, inputs) → (N, V H, W, 3), the mean of each pixel: the encoder's mirror image, its last layer linear."""

    def __init__(self, inputs: int, size: tuple[int, int], views: int, depth: int) -> None:
        super().__init__()
        self._map = smallest_map(*size)
        rows, columns = self._map
        self.first = TypedLinear(inputs, rows * columns * 8 * depth, bias=False)
        self.first_bias = nn.Parameter(torch.zeros(8 * depth))
        self.double1 = Doubling(8 * depth, 4 * depth, 3, views)
        self.double2 = Doubling(4 * depth, 2 * depth, 3, views)
        self.double3 = Doubling(2 * depth, depth, 3, views)
        self.double4 = ToPixels(depth, 3, 5, views)
        start_like_published(self)

    def forward(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, inputs) → (N, V H, W, 3) in `dtype`."""
        count = len(x)
        x = self.first(_padded(x).to(dtype)).unflatten(-1, (*self._map, -1))
        x = leaky(x + self.first_bias.to(dtype)).permute(0, 3, 1, 2)  # channels last
        for layer in (self.double1, self.double2, self.double3):
            x = layer(x)
        pixels: Tensor = self.double4(x)
        return pixels.permute(0, 2, 3, 1)[:count]


def _padded(x: Tensor) -> Tensor:
    """Zero rows behind, to a multiple of the block; a single row stays."""
    missing = -len(x) % _BLOCK if len(x) > 1 else 0
    return torch.cat([x, x.new_zeros(missing, *x.shape[1:])]) if missing else x


def dense(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with leaky ReLU, then a linear output."""
    layers = nn.Sequential(
        nn.Linear(inputs, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, hidden), nn.LeakyReLU(SLOPE),
        nn.Linear(hidden, outputs),
    )  # fmt: skip
    start_like_published(layers)
    return layers


class ConditionalGaussian(nn.Module):
    """p(z | known, latent): a diagonal Gaussian from two hidden layers, std = softplus(s) + 1e-5.

    Along a trial what is known (features, actions) is there at once, only the latent has to be waited for: `begin`
    does all rows' share of the first layer in one call, `go_on` the rest, step by step.
    """

    def __init__(self, known: int, latent: int, hidden: int, size: int) -> None:
        super().__init__()
        self._split = (known, latent)
        self.layers = dense(known + latent, hidden, 2 * size)

    def forward(self, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Known inputs, then the latent, (..., each) → mean (..., size), std (..., size)."""
        return _parameters(self.layers(torch.cat(parts, dim=-1)))

    def begin(self, *known: Tensor) -> tuple[Tensor, Tensor]:
        """Known inputs (..., each) → their share of the first layer (..., hidden), and the latent's weights."""
        first: nn.Linear = self.layers[0]  # type: ignore[assignment]
        weight, latent_weight = first.weight.split(self._split, dim=1)
        return F.linear(torch.cat(known, dim=-1), weight, first.bias), latent_weight

    def go_on(self, share: Tensor, latent_weight: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The rest of `forward` for a latent (..., latent)."""
        return _parameters(self.layers[1:](share + F.linear(latent, latent_weight)))


def _parameters(raw: Tensor) -> tuple[Tensor, Tensor]:
    mean, spread = raw.chunk(2, dim=-1)
    return mean, F.softplus(spread) + _MIN_STD
