"""Networks and distributions: image encoder and decoder, MLPs, diagonal and tanh-squashed Gaussians."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LOG_TWO_PI = math.log(2.0 * math.pi)
_MIN_STD = 1e-5
_CONTRAST = 4.0
_SHARPNESS = 10.0
"""Factor on feature maps before the softmax: a plain one starts out nearly uniform and learns slowly."""
_BLOCK = 64
"""Frames are padded to multiples of this: a convolution is compiled anew for every batch size that it meets."""
_DECODED = 16
"""The same for what is decoded: oneDNN keeps megabytes for every batch size of a bf16 product."""
_LEAST_STD = 0.01
"""Least spread of the policy before the squash."""


def half_precision(device: torch.device, enabled: bool) -> torch.autocast:
    """A region whose convolutions and matrix products take bf16 factors; sums stay fp32, results come out in bf16."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def mlp(inputs: int, hidden: int, outputs: int, layers: int = 1, norm: bool = False) -> nn.Sequential:
    """`layers` hidden layers with SiLU (and LayerNorm before it), then a linear output."""
    parts: list[nn.Module] = []
    for width in [inputs] + [hidden] * (layers - 1):
        parts += [nn.Linear(width, hidden), *([nn.LayerNorm(hidden)] if norm else []), nn.SiLU()]
    return nn.Sequential(*parts, nn.Linear(hidden, outputs))


class ImageEncoder(nn.Module):
    """(N, H, W, 3) uint8 → (N, features), by two convolutions of stride 4 and 2 without overlap.

    H and W must be multiples of 8. Where stride equals kernel a convolution is a linear layer on patches; written so,
    it needs no kernel compiled per batch size, and one reordering of bytes serves both layers. It learned the insertion
    task: the tool's position is known, the picture has to tell where the box is.
    """

    def __init__(self, height: int, width: int, channels: int, features: int) -> None:
        super().__init__()
        if height % 8 or width % 8:
            raise ValueError(
                f"the encoder needs an image size divisible by 8, got {height}x{width} "
                "[settings: sim.image_size, model.shrink]"
            )
        self.fine = nn.Linear(4 * 4 * 3, channels)  # kernel 4, stride 4: (H/4, W/4)
        self.coarse = nn.Linear(2 * 2 * channels, channels)  # kernel 2, stride 2: (H/8, W/8)
        self.linear = nn.Linear(channels * (height // 8) * (width // 8), features)
        self.norm = nn.LayerNorm(features)

    def forward(self, image: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 → (N, features) float32."""
        x = F.silu(self.fine(patches(image).float() / 255.0 - 0.5))  # (N, H/8, W/8, 4, C)
        x = F.silu(self.coarse(x.flatten(-2)))  # (N, H/8, W/8, C)
        return F.silu(self.norm(self.linear(x.flatten(1)))).float()


def patches(image: Tensor) -> Tensor:
    """(N, H, W, 3) → (N, H/8, W/8, 4, 48): four 4x4 patches of each 8x8 block, row by row."""
    count, height, width, colours = image.shape
    blocks = image.reshape(count, height // 8, 2, 4, width // 8, 2, 4, colours)
    return blocks.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(count, height // 8, width // 8, 4, 16 * colours)


class KeypointEncoder(nn.Module):
    """(N, H, W, 3) uint8 → (N, features): per view, where in the picture each of K learned things is.

    Spatial soft-argmax (Finn et al. 2016, "Deep spatial autoencoders for visuomotor learning"). From few scenes it
    tells positions apart far better than a plain encoder: with 40 box poses seen, those of unseen boxes came out with
    half to a third of the error.
    """

    grid: Tensor
    """(H/2 · W/2, 2) x and y of each cell of a view, from -3 to 3."""

    def __init__(self, size: tuple[int, int], views: int, channels: int, keypoints: int, features: int) -> None:
        super().__init__()
        height, width = size
        self.views = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, channels, 5, stride=2, padding=2), nn.SiLU(),  # (H/2, W/2)
                nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(),
                nn.Conv2d(channels, keypoints, 3, padding=1),
            )
            for _ in range(views)
        )  # fmt: skip
        rows, columns = torch.linspace(-3, 3, -(-height // views // 2)), torch.linspace(-3, 3, -(-width // 2))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], dim=-1).flatten(0, 1), persistent=False)
        self.linear = nn.Linear(views * keypoints * 2, features)
        self.norm = nn.LayerNorm(features)

    def forward(self, image: Tensor) -> Tensor:
        """(N, H, W, 3) uint8, the views stacked vertically → (N, features) float32."""
        count = len(image)
        points = self._points_of_one(image) if count == 1 else self._points_of_many(image)
        return F.silu(self.norm(self.linear(points)))[:count].float()

    def _points_of_many(self, image: Tensor) -> Tensor:
        """View by view, (N or more, views 2 K)."""
        image = F.pad(image, (0, 0, 0, 0, 0, 0, 0, -len(image) % _BLOCK))
        x = _pixels(image.permute(0, 3, 1, 2)).chunk(len(self.views), dim=2)
        views = [view.contiguous(memory_format=torch.channels_last) for view in x]
        logits = [_logits([net], view) for net, view in zip(self.views, views, strict=True)]
        return torch.cat([_expected(of_view, self.grid) for of_view in logits], dim=-1)

    def _points_of_one(self, image: Tensor) -> Tensor:
        """The same numbers for one picture, (1, views 2 K): all views in one convolution of groups, twice as fast."""
        views = len(self.views)
        stacked = image.unflatten(1, (views, -1)).permute(0, 1, 4, 2, 3).flatten(1, 2)  # (1, views 3, H, W)
        x = _pixels(stacked.contiguous(memory_format=torch.channels_last))
        return _expected(_logits(self.views, x), self.grid)


def _logits(nets: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Feature maps of one view, or, in convolutions of groups, of all: (N, nets K, H/2, W/2).

    The sharpness is a factor on the last layer's few weights, not on all that they give.
    """
    *hidden, last = zip(*nets, strict=True)  # the same layer of every view
    for layers in hidden:
        x = _side_by_side(layers, x) if isinstance(layers[0], nn.Conv2d) else layers[0](x)
    return _side_by_side(last, x, _SHARPNESS)


def _side_by_side(layers: Sequence[nn.Conv2d], x: Tensor, scale: float = 1.0) -> Tensor:
    weight, bias = (_together([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
    if scale != 1.0:
        weight, bias = scale * weight, scale * bias
    return F.conv2d(x, weight, bias, layers[0].stride, layers[0].padding, groups=len(layers))


def _together(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _expected(logits: Tensor, grid: Tensor) -> Tensor:
    """Expected position on each feature map: (N, K, H/2, W/2) → (N, 2 K)."""
    return (logits.flatten(2).softmax(dim=-1) @ grid).flatten(1)


def _pixels(image: Tensor) -> Tensor:
    """uint8 → float32 in about [-2, 2]."""
    return image.float().mul_(_CONTRAST / 255.0).sub_(_CONTRAST / 2.0)


class ImageDecoder(nn.Module):
    """(N, inputs) → (N, H, W, 3) in [0, 1] scale, by an MLP: deconvolutions did not learn in a short budget."""

    def __init__(self, inputs: int, height: int, width: int, hidden: int) -> None:
        super().__init__()
        self.shape = (height, width, 3)
        self.layers = mlp(inputs, hidden, height * width * 3, layers=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) → (N, H, W, 3)."""
        padded = F.pad(x, (0, 0, 0, -len(x) % _DECODED))
        image: Tensor = self.layers(padded)[: len(x)].float().unflatten(-1, self.shape) + 0.5
        return image


class Gaussian(nn.Module):
    """A diagonal Gaussian given inputs: mean and std = softplus(s) + 1e-5 (MELD section 2.3)."""

    def __init__(self, inputs: int, hidden: int, size: int) -> None:
        super().__init__()
        self.layers = mlp(inputs, hidden, 2 * size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., inputs) → mean (..., size), std (..., size)."""
        mean, raw = self.layers(x).chunk(2, dim=-1)
        return mean, F.softplus(raw) + _MIN_STD


def gaussian_kl(mean_q: Tensor, std_q: Tensor, mean_p: Tensor, std_p: Tensor) -> Tensor:
    """KL(q || p) of diagonal Gaussians [nats], summed over the last dimension."""
    ratio = (std_q / std_p).square()
    shift = ((mean_q - mean_p) / std_p).square()
    return 0.5 * (ratio + shift - 1.0 - ratio.log()).sum(dim=-1)


def tanh_gaussian_log_prob(mean: Tensor, log_std: Tensor, pre_squash: Tensor) -> Tensor:
    """log-density of a = tanh(u), u ~ N(mean, std²), summed over the last dimension.

    log N(u) - sum log(1 - tanh² u), the latter as 2 (log 2 - u - softplus(-2u)), which does not overflow.
    """
    normal = -0.5 * (((pre_squash - mean) * (-log_std).exp()).square() + _LOG_TWO_PI) - log_std
    squash = 2.0 * (math.log(2.0) - pre_squash - F.softplus(-2.0 * pre_squash))
    return (normal - squash).sum(dim=-1)


def last_exact(layers: nn.Sequential, x: Tensor, half: bool) -> Tensor:
    """Run layers, all but the last with bf16 factors: a value rounded to eight bits cannot be regressed on."""
    with half_precision(x.device, half):
        x = layers[:-1](x)
    out: Tensor = layers[-1](x.float())
    return out


class Actor(nn.Module):
    """π(a|b): a tanh-squashed Gaussian over actions in [-1, 1]."""

    bf16 = False
    """Hidden layers multiply in bf16: set by the learner, never where the actor acts."""

    def __init__(self, belief: int, hidden: int, actions: int, max_std: float = 1.0) -> None:
        super().__init__()
        self.layers = mlp(belief, hidden, 2 * actions, layers=2, norm=True)
        self.log_std_range = (math.log(_LEAST_STD), math.log(max_std))

    def forward(self, belief: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) → mean and log std before the squash, each (..., A)."""
        mean, raw = last_exact(self.layers, belief, self.bf16).chunk(2, dim=-1)
        low, high = self.log_std_range
        return mean, low + (high - low) * torch.sigmoid(raw + 1.0)

    def sample(self, belief: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Action (..., A) and its log-probability (...), by reparametrisation; `noise` replaces N(0, 1) draws."""
        mean, log_std = self(belief)
        return self.squash(mean, log_std, noise)

    @staticmethod
    def squash(mean: Tensor, log_std: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Like `sample`, from the parameters."""
        noise = torch.randn_like(mean) if noise is None else noise
        pre_squash = mean + log_std.exp() * noise
        return torch.tanh(pre_squash), tanh_gaussian_log_prob(mean, log_std, pre_squash)


class EnsembleLinear(nn.Module):
    """E linear layers side by side: (E, B, inputs) → (E, B, outputs) in one call."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(E, B, inputs) → (E, B, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleNorm(nn.Module):
    """LayerNorm with weights of its own for each ensemble member."""

    def __init__(self, members: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, size))
        self.bias = nn.Parameter(torch.zeros(members, 1, size))

    def forward(self, x: Tensor) -> Tensor:
        """(E, B, size) → (E, B, size)."""
        return F.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class Critics(nn.Module):
    """An ensemble Q_i(b, a) with LayerNorm."""

    bf16 = False
    """Hidden layers multiply in bf16."""

    def __init__(self, belief: int, actions: int, hidden: int, members: int) -> None:
        super().__init__()
        self.members = members
        self.layers = nn.Sequential(
            EnsembleLinear(members, belief + actions, hidden), EnsembleNorm(members, hidden), nn.SiLU(),
            EnsembleLinear(members, hidden, hidden), EnsembleNorm(members, hidden), nn.SiLU(),
            EnsembleLinear(members, hidden, 1),
        )  # fmt: skip

    def forward(self, belief: Tensor, action: Tensor) -> Tensor:
        """(B, D), (B, A) → (E, B)."""
        x = torch.cat([belief, action], dim=-1).expand(self.members, -1, -1)
        return last_exact(self.layers, x, self.bf16).squeeze(-1)
