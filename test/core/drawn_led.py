"""Drawn pictures of an LED, dark and lit, and labels of them."""

from __future__ import annotations

import numpy as np

from meld_core.detectors.labels import Labels, make_labels

DARK_LED, LIT_LED, RED = (30, 50, 30), (40, 250, 80), (250, 40, 30)


def view(led: tuple[int, int, int], background: int = 110, place: tuple[int, int] = (30, 24)) -> np.ndarray:
    """64x48 with an LED of 6x5 px at a place (x, y)."""
    pixels = np.full((48, 64, 3), background, np.uint8)
    x, y = place
    pixels[y : y + 5, x : x + 6] = led
    return pixels


def labels(scenes: int = 40, seed: int = 0, name: str = "bench") -> Labels:
    """Scenes of two pictures, LED dark and lit, with other noise and brightness."""
    rng = np.random.default_rng(seed)
    shots = [
        np.clip(view(led, int(rng.integers(70, 150))) + rng.normal(0, 4, (48, 64, 3)), 0, 255).astype(np.uint8)
        for _ in range(scenes)
        for led in (DARK_LED, LIT_LED)
    ]
    return make_labels(shots, [False, True] * scenes, [i // 2 for i in range(2 * scenes)], name, "test")
