"""From camera pictures to what the policy and the detector see, and the intrinsics that belong to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from meld_core.cameras.watch import CameraError
from meld_core.config import CameraConfig, ConfigError, read_yaml


def crop(pixels: np.ndarray, config: CameraConfig) -> np.ndarray:
    """The part of (H, W, 3) that the config wants. Raises CameraError where it reaches beyond the picture."""
    x, y, width, height = config.crop
    if not width:
        return pixels
    if height < 1 or x + width > pixels.shape[1] or y + height > pixels.shape[0]:
        raise CameraError(
            f"crop {list(config.crop)} (x, y, width, height) of the {config.name} camera reaches beyond its picture of "
            f"{pixels.shape[1]}x{pixels.shape[0]}"
        )
    return pixels[y : y + height, x : x + width]


def squeeze(pixels: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) → (size, size, 3) by averaging. A crop that is not square is squeezed, which no network minds."""
    if pixels.shape[:2] == (size, size):
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), (size, size), interpolation=cv2.INTER_AREA))


def policy_view(pictures: Sequence[tuple[np.ndarray, CameraConfig]], size: int) -> np.ndarray:
    """Pictures of the cameras from top to bottom → (n · size, size, 3)."""
    return np.concatenate([squeeze(crop(pixels, config), size) for pixels, config in pictures])


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Intrinsics as in sensor_msgs/CameraInfo."""

    width: int
    height: int
    model: str
    """Distortion model, `plumb_bob` mostly."""
    distortion: tuple[float, ...]
    k: tuple[float, ...]
    """(9,) fx 0 cx, 0 fy cy, 0 0 1 [px]."""
    r: tuple[float, ...]
    """(9,) rectification."""
    p: tuple[float, ...]
    """(12,) projection [px]."""

    def seen_through(self, x: float, y: float, scale_x: float, scale_y: float, size: tuple[int, int]) -> Calibration:
        """Intrinsics after cutting off `x` columns and `y` rows and scaling; `size` is width and height afterwards.

        Pixel centres lie at whole numbers, so that a scaled principal point is (c + 1/2) s - 1/2.
        """

        def moved(matrix: tuple[float, ...], columns: int) -> tuple[float, ...]:
            m = np.array(matrix, np.float64).reshape(3, columns)
            m[:2, :2] *= np.array([[scale_x], [scale_y]])
            m[0, 2] = (matrix[2] - x + 0.5) * scale_x - 0.5
            m[1, 2] = (matrix[columns + 2] - y + 0.5) * scale_y - 0.5
            m[:2, 3:] *= np.array([[scale_x], [scale_y]])
            return tuple(m.ravel().tolist())

        width, height = size
        return dataclasses.replace(self, width=width, height=height, k=moved(self.k, 3), p=moved(self.p, 4))


def read_calibration(config: CameraConfig) -> Calibration | None:
    """The calibration of a camera, in the YAML format of camera_calibration_parsers; None where it names no file.

    Raises:
        ConfigError: where it is missing, malformed or of another picture size.
    """
    if not config.calibration:
        return None
    path = Path(config.calibration)
    raw = read_yaml(path)
    try:
        lists = {name: _numbers(raw[name]) for name in _SIZES}
        calibration = Calibration(
            width=int(raw["image_width"]),
            height=int(raw["image_height"]),
            model=str(raw["distortion_model"]),
            distortion=lists["distortion_coefficients"],
            k=lists["camera_matrix"],
            r=lists["rectification_matrix"],
            p=lists["projection_matrix"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no camera calibration: {type(error).__name__} {error}") from None
    for name, size in _SIZES.items():
        if size and len(lists[name]) != size:
            raise ConfigError(f"{path} has {len(lists[name])} numbers in {name}, expected {size}")
    if (calibration.width, calibration.height) != (config.width, config.height):
        raise ConfigError(
            f"{path} is of pictures of {calibration.width}x{calibration.height}, the {config.name} camera gives "
            f"{config.width}x{config.height}; calibrate again or change width and height"
        )
    return calibration


_SIZES = {"camera_matrix": 9, "distortion_coefficients": 0, "rectification_matrix": 9, "projection_matrix": 12}


def _numbers(entry: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in entry["data"])


def view_calibration(calibration: Calibration, config: CameraConfig, size: int | None) -> Calibration:
    """The calibration of what `crop` (and, with a size, `squeeze`) leave of a camera's picture."""
    x, y, width, height = config.crop if config.crop[2] else (0, 0, config.width, config.height)
    shown = (width, height) if size is None else (size, size)
    return calibration.seen_through(x, y, shown[0] / width, shown[1] / height, shown)
