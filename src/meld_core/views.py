"""What the model sees of the policy image: some of its views, averaged to less pixels."""

from __future__ import annotations

import cv2
import numpy as np

from meld_core.config import Config


def view_pixels(image: np.ndarray, config: Config) -> np.ndarray:
    """Select the model's views and average blocks of pixels.

    Args:
        image: (..., H, W, 3) uint8, the views of `sim.views` stacked vertically.

    Returns:
        (..., h, w, 3) uint8.

    Raises:
        ValueError: where the image has another size.
    """
    size, views, shrink = config.sim.image_size, config.sim.views, config.model.shrink
    expected = (size * len(views), size, 3)
    if image.shape[-3:] != expected:
        raise ValueError(
            f"policy image is {image.shape[-3:]}, expected {expected} [settings: sim.image_size, sim.views]"
        )
    chosen = [views.index(v) for v in config.model.views]
    image = np.concatenate([image[..., i * size : (i + 1) * size, :, :] for i in chosen], axis=-3)
    if shrink == 1:
        return image
    rows = image.reshape(-1, size, 3)  # of all pictures, one below the other: no block reaches into two
    small = cv2.resize(rows, (size // shrink, len(rows) // shrink), interpolation=cv2.INTER_AREA)
    return small.reshape(*image.shape[:-3], -1, size // shrink, 3)


def model_image_size(config: Config) -> tuple[int, int]:
    """Height and width of `view_pixels`' result.

    Raises:
        ValueError: where model.views is not a subset of sim.views or shrink does not divide the size.
    """
    if missing := set(config.model.views) - set(config.sim.views):
        raise ValueError(f"model.views has {sorted(missing)}, but sim.views offers {list(config.sim.views)}")
    if config.sim.image_size % config.model.shrink:
        raise ValueError(f"model.shrink {config.model.shrink} does not divide sim.image_size {config.sim.image_size}")
    size = config.sim.image_size // config.model.shrink
    return size * len(config.model.views), size
