"""Training of the reward classifier, and the choice of its threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meld_core.detectors.drift import is_unsure
from meld_core.detectors.labels import Labels, split_by_group
from meld_core.detectors.net import SIZE, Classifier, ClassifierFacts, RewardNet, small

_BATCH, _RATE, _DECAY = 32, 1e-3, 1e-3
_GAIN, _TINT, _NOISE = 0.7, 0.15, 6.0
"""Spread of augmentation: log brightness (either way), log gain of a colour (std), pixel noise (std, of 255)."""
_SHIFT = 2
"""Pictures are moved by at most this [px]."""
_SMALL, _LARGE = (3, 8), (9, 28)
"""Edge of coloured patches [px]. Small ones lie about in every second picture: a colour by itself must not decide.
Large ones are put before every second failure: what hides the sign of success is none."""
_TEMPERATURES = np.geomspace(0.5, 8.0, 60)
_LEAST_THRESHOLD = 0.5


def train_classifier(
    labels: Labels,
    *,
    epochs: int = 12,
    false_positive_rate: float = 0.01,
    held_back: float = 0.25,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] = lambda *_: None,
) -> Classifier:
    """Train on most scenes; calibrate and choose the threshold on the others.

    Args:
        labels: Pictures with labels.
        epochs: Passes through them.
        false_positive_rate: Share of failures that may be taken for a success.
        held_back: Share of the scenes that are not trained on.
        seed: Of everything that is drawn.
        on_epoch: Called after each pass with its number, from 1, and its mean loss.

    Raises:
        LabelError: where there are too few labels.
    """
    train, held = split_by_group(labels, held_back, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _fit(train, epochs, seed, on_epoch)
    raw = Classifier(net, ClassifierFacts(0.5, 1.0, 0.0, 0.0, 0.0, 0, "", 0.0)).probabilities(held.images)
    logits = np.log(np.clip(raw, 1e-7, 1 - 1e-7) / np.clip(1 - raw, 1e-7, 1))
    temperature = best_temperature(logits, held.success)
    probabilities = 1.0 / (1.0 + np.exp(-logits / temperature))
    means = labels.images.reshape(len(labels), -1).mean(axis=1)
    facts = ClassifierFacts(
        threshold=choose_threshold(probabilities[~held.success], false_positive_rate),
        temperature=temperature,
        brightness=float(means.mean()),
        brightness_spread=float(means.std()),
        unsure=float(np.mean([is_unsure(float(p)) for p in probabilities])),
        pictures=len(train),
        source=labels.source,
        false_positive_rate=false_positive_rate,
    )
    return Classifier(net.eval(), facts)


def _fit(train: Labels, epochs: int, seed: int, on_epoch: Callable[[int, float], None]) -> RewardNet:
    net = RewardNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    images, success = torch.from_numpy(small(train.images)), torch.from_numpy(train.success).float()
    weight = torch.tensor(float((~train.success).sum()) / max(1.0, float(train.success.sum())))
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for batch in _batches(len(train), rng):
            logits = net(augmented(images[batch], success[batch] > 0.5))
            loss = F.binary_cross_entropy_with_logits(logits, success[batch], pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        on_epoch(epoch + 1, float(np.mean(losses)))
    return net


def _batches(n: int, rng: np.random.Generator) -> Iterator[Tensor]:
    order = torch.from_numpy(rng.permutation(n))
    yield from order.split(_BATCH)


def augmented(images: Tensor, success: Tensor) -> Tensor:
    """Other light, other colour of the light, a camera that moved a little, things lying about and in the way.

    (N, 64, 64, 3) uint8 and (N,) bool → (N, 64, 64, 3) uint8.
    """
    n = len(images)
    x = images.float() * (torch.empty(n, 1, 1, 1).uniform_(-_GAIN, _GAIN) + _TINT * torch.randn(n, 1, 1, 3)).exp()
    x = x + _NOISE * torch.randn(x.shape)
    dy, dx = (torch.randint(-_SHIFT, _SHIFT + 1, (2,))).tolist()
    x = torch.roll(x, (dy, dx), dims=(1, 2))
    some = torch.rand(2, n) < 0.5
    _add_patches(x, some[0], _SMALL)
    _add_patches(x, some[1] & ~success, _LARGE)
    return x.clamp(0, 255).to(torch.uint8)


def _add_patches(x: Tensor, which: Tensor, size: tuple[int, int]) -> None:
    """One rectangle of one colour into each of the pictures `which` (N,) bool."""
    for number in which.nonzero().flatten().tolist():
        height, width = torch.randint(*size, (2,)).tolist()
        top, left = int(torch.randint(0, SIZE - height, ())), int(torch.randint(0, SIZE - width, ()))
        x[number, top : top + height, left : left + width] = 255 * torch.rand(3)


def best_temperature(logits: np.ndarray, success: np.ndarray) -> float:
    """Temperature with the smallest negative log-likelihood (Guo et al. 2017, "On calibration of modern networks").

    (N,) logits and (N,) bool → the best of a fixed row of temperatures.
    """

    def loss(temperature: float) -> float:
        signed = np.where(success, logits, -logits) / temperature
        return float(np.logaddexp(0.0, -signed).mean())

    return float(min(_TEMPERATURES, key=loss))


def choose_threshold(negatives: np.ndarray, rate: float) -> float:
    """Least threshold, at least 0.5, that no more than this share of the failures' probabilities (N,) reaches."""
    ordered = np.sort(np.asarray(negatives, np.float64))[::-1]
    allowed = int(rate * len(ordered))
    if allowed >= len(ordered):
        return _LEAST_THRESHOLD
    return float(min(1.0, max(_LEAST_THRESHOLD, np.nextafter(np.float32(ordered[allowed]), np.float32(2.0)))))
