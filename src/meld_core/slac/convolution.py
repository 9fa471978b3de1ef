"""Convolutions of stride 2 with leaky ReLU: what oneDNN and cuDNN have, and what costs less where they are slow.

Measured on a processor that multiplies in bf16 (docs/PERFORMANCE.md): gradients of the weights of small maps are half
as expensive as one matrix product over the patches; the gradient of a transposed convolution's bias is a sum over
rows, which its own backward pass does in single steps; a transposed convolution to three colours is four times as fast
as an ordinary one to the four pixels that each place becomes. Results are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLU."""
_SMALL = 64
"""Maps of fewer places have the gradient of their weights from patches; in larger ones the patches cost too much."""


class Halving(nn.Conv2d):
    """Convolution of stride 2 behind which each side is half as long, then leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, views: int) -> None:
        kernel, padding, _ = _kernel(size, views)
        super().__init__(inputs, outputs, kernel, stride=2, padding=padding)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H/2, W/2) in the type of `x`; `scale` is a factor on `x`."""
        weight = self.weight if scale == 1.0 else self.weight * scale
        return _convolve(self, x, weight, False)


class Doubling(nn.ConvTranspose2d):
    """Transposed convolution of stride 2 behind which each side is twice as long, then leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, views: int) -> None:
        kernel, padding, beyond = _kernel(size, views)
        super().__init__(inputs, outputs, kernel, stride=2, padding=padding, output_padding=beyond)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(N, inputs, H, W) → (N, outputs, 2 H, 2 W) in the type of `x`."""
        return _convolve(self, x, self.weight, True)


class ToPixels(nn.ConvTranspose2d):
    """The same without leaky ReLU, for few outputs: one convolution yields the 2 x 2 pixels that each place becomes.

    Pixel 2 m + a of a row is the sum of x[m + d] w[a + padding - 2 d] over d, w being 0 outside of its kernel.
    """

    def __init__(self, inputs: int, outputs: int, size: int, views: int) -> None:
        kernel, padding, beyond = _kernel(size, views)
        super().__init__(inputs, outputs, kernel, stride=2, padding=padding, output_padding=beyond)
        reaches = [_reach(k, p) for k, p in zip(kernel, padding, strict=True)]
        self._around = [max(abs(d) for d in reach) for reach in reaches]
        self._taps = [_taps(k, p, far) for k, p, far in zip(kernel, padding, self._around, strict=True)]

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(N, inputs, H, W) → (N, outputs, 2 H, 2 W) in the type of `x`."""
        bias: Tensor = self.bias  # type: ignore[assignment]
        four = F.conv2d(x, self.phases().to(x.dtype), bias.repeat(4).to(x.dtype), padding=tuple(self._around))
        places = four.permute(0, 2, 3, 1).unflatten(-1, (2, 2, self.out_channels))  # (N, H, W, 2, 2, outputs)
        pixels = places.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # (N, 2 H, 2 W, outputs)
        return pixels.permute(0, 3, 1, 2)

    def phases(self) -> Tensor:
        """The weights of that convolution: (4 outputs, inputs, taps, taps)."""
        rows, columns = (torch.tensor(taps, device=self.weight.device) for taps in self._taps)
        weight = F.pad(self.weight, (0, 1, 0, 1))  # (inputs, outputs, K + 1, K + 1): the last one is 0
        chosen = weight[:, :, rows][..., columns]  # (inputs, outputs, 2, taps, 2, taps)
        return chosen.permute(2, 4, 1, 0, 3, 5).flatten(0, 2)


def _kernel(size: int, views: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, padding, output padding of a layer of stride 2, (height, width) each: sizes halve or double exactly."""
    kernel = (size * views, size)
    padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    return kernel, padding, (2 + 2 * padding[0] - kernel[0], 2 + 2 * padding[1] - kernel[1])


def _reach(kernel: int, padding: int) -> list[int]:
    """All d for which some phase a of 0, 1 has 0 <= a + padding - 2 d < kernel."""
    return [d for d in range(-kernel, kernel + 1) if any(0 <= a + padding - 2 * d < kernel for a in (0, 1))]


def _taps(kernel: int, padding: int, around: int) -> list[list[int]]:
    """Per phase, for d from -around to around, the index into the kernel; `kernel` itself where there is none."""
    wanted = [[a + padding - 2 * d for d in range(-around, around + 1)] for a in (0, 1)]
    return [[index if 0 <= index < kernel else kernel for index in phase] for phase in wanted]


def _convolve(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, weight: Tensor, transposed: bool) -> Tensor:
    bias: Tensor = layer.bias  # type: ignore[assignment]
    padding: tuple[int, ...] = layer.padding  # type: ignore[assignment]
    shape = (layer.stride, padding, layer.dilation, transposed, layer.output_padding, 1)
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    if not torch.is_grad_enabled():
        return F.leaky_relu(torch.convolution(x, weight, bias, *shape), SLOPE)
    y: Tensor = _LeakyConvolution.apply(x, weight, bias, shape)
    return y


class _LeakyConvolution(torch.autograd.Function):
    """leaky(convolution(x, weight) + bias)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shape: tuple[Any, ...]) -> Tensor:
        """Keeps the result alone, whose signs are those of what leaky ReLU was given."""
        y = F.leaky_relu_(torch.convolution(x, weight, bias, *shape), SLOPE)
        ctx.save_for_backward(x, weight, y)
        ctx.shape = shape
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """Gradients of x (where it is asked for), weight and bias."""
        x, weight, y = ctx.saved_tensors
        transposed, wanted = ctx.shape[3], ctx.needs_input_grad[0]
        g = torch.ops.aten.leaky_relu_backward(gradient, y, SLOPE, True)
        large, small = (g, x) if transposed else (x, g)
        by_patches = small.shape[2] * small.shape[3] < _SMALL
        dx, dw, _ = torch.ops.aten.convolution_backward(g, x, weight, None, *ctx.shape, [wanted, not by_patches, False])
        if by_patches:
            dw = _weight_gradient(large, small, weight.shape[2:], ctx.shape[1])
        return dx, dw, g.permute(0, 2, 3, 1).flatten(0, 2).sum(0), None


def _weight_gradient(large: Tensor, small: Tensor, kernel: Sequence[int], padding: Sequence[int]) -> Tensor:
    """Σ over places of small ⊗ patch of large: (channels of small, channels of large, height, width)."""
    patches = _patches(large, kernel, padding, small.shape[2:])
    product = small.permute(0, 2, 3, 1).flatten(0, 2).t() @ patches.flatten(0, 2)
    return product.unflatten(1, (*kernel, -1)).permute(0, 3, 1, 2)


def _patches(x: Tensor, kernel: Sequence[int], padding: Sequence[int], places: Sequence[int]) -> Tensor:
    """What each place of a convolution of stride 2 sees of (N, C, H, W): (N, h, w, kernel height * width * C)."""
    count, channels, height, width = x.shape
    (top, left), beyond = padding, [2 * n + k for n, k in zip(places, kernel, strict=True)]
    padded = x.new_zeros(count, beyond[0], beyond[1], channels)
    padded[:, top : top + height, left : left + width] = x.permute(0, 2, 3, 1)
    image, row, pixel, _ = padded.stride()
    shape = (count, *places, kernel[0], kernel[1] * channels)
    return padded.as_strided(shape, (image, 2 * row, 2 * pixel, row, 1)).flatten(3)
