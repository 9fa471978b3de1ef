"""Region and colour range of an LED, found from a picture of it lit and one of it dark. Needs no screen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from meld_core.storage.files import write_atomic

_CHANGE = 40
"""A pixel of the LED changes by at least this much, of 255, in one colour."""
_MARGIN = (8, 50, 60)
"""Tolerance around the LED's hue, saturation and value; the range is open towards brighter and more saturated."""
_GROW = 1.0
"""The region reaches this share of the LED's size beyond it on each side."""


class LedError(ValueError):
    """No LED was found; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True)
class LedChoice:
    """Settings of the LED detector."""

    region: tuple[int, int, int, int]
    """x, y, width, height [px]."""
    hsv_lower: tuple[int, int, int]
    hsv_upper: tuple[int, int, int]
    min_pixels: int
    brightness: float
    """Mean of the dark picture, of 255."""
    pixels: int
    """Of the LED in the lit picture."""

    def yaml(self) -> str:
        """As a config file of differences."""
        return (
            "# Chosen by `meld reward led`.\n"
            "reward:\n"
            "  kind: led\n"
            f"  region: {list(self.region)}\n"
            f"  hsv_lower: {list(self.hsv_lower)}\n"
            f"  hsv_upper: {list(self.hsv_upper)}\n"
            f"  min_pixels: {self.min_pixels}\n"
            f"  brightness: {self.brightness:.0f}\n"
        )


def choose_led(lit: np.ndarray, dark: np.ndarray) -> LedChoice:
    """Find what is brighter in one picture than in the other.

    Args:
        lit: (H, W, 3) uint8 RGB, the LED lit.
        dark: The same view with the LED dark; nothing else may have moved.

    Raises:
        LedError: where the pictures differ in size, in nothing, or in more than one LED.
    """
    if lit.shape != dark.shape:
        sizes = [f"{width}x{height}" for height, width, _ in (lit.shape, dark.shape)]
        raise LedError(f"the lit picture is {sizes[0]}, the dark one {sizes[1]}")
    brighter = (lit.astype(np.int16) - dark).max(axis=2) >= _CHANGE
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(brighter.astype(np.uint8), connectivity=8)
    if count < 2:
        raise LedError(f"no pixel is brighter by {_CHANGE} with the LED lit; is it in the picture, and lit?")
    led = 1 + int(boxes[1:, cv2.CC_STAT_AREA].argmax())
    x, y, width, height, area = (int(value) for value in boxes[led])
    if area > 0.25 * brighter.size or area < 0.5 * brighter.sum():
        raise LedError(
            f"{int(brighter.sum())} pixels changed in {count - 1} places: something besides the LED moved, or the "
            "light changed; take both pictures from the same place, with exposure locked"
        )
    lower, upper = _range(cv2.cvtColor(np.ascontiguousarray(lit), cv2.COLOR_RGB2HSV)[parts == led])
    region = _grown((x, y, width, height), lit.shape[:2])
    choice = LedChoice(region, lower, upper, 1, float(dark.mean()), area)
    seen, shown_dark = (_count(choice, picture) for picture in (lit, dark))
    if seen < 2 * (shown_dark + 1):
        raise LedError(f"the LED's colour fills {shown_dark} pixels of the region when dark, {seen} when lit")
    return dataclasses.replace(choice, min_pixels=max(1, shown_dark + 1, seen // 3))


def _range(hsv: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Bounds around (N, 3) pixels of the LED; hue is cut at 0 and 179, not wrapped: a red LED is told by its region."""
    low, high = np.percentile(hsv, 10, axis=0), np.percentile(hsv, 90, axis=0)
    hue = max(0, int(low[0]) - _MARGIN[0]), min(179, int(high[0]) + _MARGIN[0])
    lower = hue[0], max(0, int(low[1]) - _MARGIN[1]), max(0, int(low[2]) - _MARGIN[2])
    return lower, (hue[1], 255, 255)


def _grown(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = box
    dx, dy = max(2, round(_GROW * width)), max(2, round(_GROW * height))
    left, top = max(0, x - dx), max(0, y - dy)
    return left, top, min(size[1], x + width + dx) - left, min(size[0], y + height + dy) - top


def _count(choice: LedChoice, pixels: np.ndarray) -> int:
    x, y, width, height = choice.region
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels[y : y + height, x : x + width]), cv2.COLOR_RGB2HSV)
    return int(cv2.countNonZero(cv2.inRange(hsv, np.array(choice.hsv_lower), np.array(choice.hsv_upper))))


def preview(lit: np.ndarray, choice: LedChoice) -> np.ndarray:
    """The lit picture with the region drawn and the pixels that count in magenta, at least 480 px wide."""
    x, y, width, height = choice.region
    shown = np.ascontiguousarray(lit)
    hsv = cv2.cvtColor(shown, cv2.COLOR_RGB2HSV)
    mask = cv2.inRange(hsv, np.array(choice.hsv_lower), np.array(choice.hsv_upper)) > 0
    inside = np.zeros_like(mask)
    inside[y : y + height, x : x + width] = True
    shown[mask & inside] = (255, 0, 255)
    scale = max(1, -(-480 // lit.shape[1]))
    shown = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    corner = (scale * (x + width) - 1, scale * (y + height) - 1)
    return np.asarray(cv2.rectangle(shown, (scale * x, scale * y), corner, (255, 220, 0), 2))


def brightest_and_darkest(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of a film in which only the LED changes: the picture with most light in what changes, and the one with least."""
    stack = np.stack(list(frames)).astype(np.int16)
    changing = (stack.max(axis=0) - stack.min(axis=0)).max(axis=2) >= _CHANGE
    if not changing.any():
        raise LedError(f"no pixel of the film changes by {_CHANGE}; the LED must be lit in one part of it only")
    light = stack[:, changing].reshape(len(stack), -1).mean(axis=1)
    return frames[int(light.argmax())], frames[int(light.argmin())]


def write_choice(choice: LedChoice, path: Path) -> None:
    """Write the settings. Raises StorageError where the disk refuses."""
    write_atomic(path, choice.yaml().encode())
