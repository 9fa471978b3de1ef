"""Frames of a LeRobot dataset: which features one has, and their values in an episode of ours."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from meld_core.types import Trial

_IMAGE = "observation.images.view_"
_AXES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True)
class Shape:
    """What all trials of one dataset must share."""

    views: int
    size: tuple[int, int]
    joints: int
    actions: int
    fps: int

    @staticmethod
    def of(trial: Trial) -> Shape:
        _, height, width, _ = trial.rows["image"].shape
        views = height // width if height % width == 0 else 1  # square views, stacked
        return Shape(
            views,
            (height // views, width),
            trial.rows["joints"].shape[1],
            trial.rows["action"].shape[1],
            _rate(trial),
        )


def _rate(trial: Trial) -> int:
    """Whole frames per second, from the stamps within episodes; at least 1."""
    periods = np.concatenate([np.diff(trial.rows["stamp"][episode]) for episode in trial.episodes()])
    return max(1, round(1e9 / float(np.median(periods))))


def features_of(shape: Shape) -> dict[str, dict[str, Any]]:
    """The `features` of info.json: name → dtype, shape, names."""
    height, width = shape.size
    joints = [f"joint_{i}" for i in range(shape.joints)]
    image = {"dtype": "image", "shape": [height, width, 3], "names": ["height", "width", "channels"]}
    floats = {
        "observation.state": [*joints, *(f"tool_{axis}" for axis in (*_AXES, "qx", "qy", "qz", "qw"))],
        "observation.velocity": joints,
        "observation.reward": ["reward"],
        "action": [f"d{axis}" for axis in _AXES][: shape.actions],
        "intended_action": [f"d{axis}" for axis in _AXES][: shape.actions],
        "next.reward": ["reward"],
        "timestamp": None,
    }
    flags = ("observation.reward_valid", "next.success", "next.done")
    numbers = ("stamp", "source", "trial_index", "episode_in_trial", "frame_index", "episode_index", "index",
               "task_index")  # fmt: skip
    return {
        **{f"{_IMAGE}{i}": image for i in range(shape.views)},
        **{name: {"dtype": "float32", "shape": [len(n) if n else 1], "names": n} for name, n in floats.items()},
        **{name: {"dtype": "bool", "shape": [1], "names": None} for name in flags},
        **{name: {"dtype": "int64", "shape": [1], "names": None} for name in numbers},
    }


def frames_of(trial: Trial, episode: slice, fps: int) -> dict[str, np.ndarray]:
    """Columns of one episode: (T, ...) arrays under the names of `features_of`, but pictures and running numbers."""
    rows = trial.rows
    now, after = slice(episode.start, episode.stop - 1), slice(episode.start + 1, episode.stop)
    steps = now.stop - now.start
    state = np.concatenate([rows["joints"], rows["tool_position"], rows["tool_orientation"]], axis=1)
    number = np.arange(steps)
    return {
        "observation.state": state[now],
        "observation.velocity": rows["velocities"][now],
        "observation.reward": rows["reward"][now],
        "observation.reward_valid": rows["reward_valid"][now],
        "action": rows["action"][now],
        "intended_action": rows["intended_action"][now],
        "next.reward": rows["reward"][after],
        "next.success": rows["success"][after],
        "next.done": number == steps - 1,
        "timestamp": (number / fps).astype(np.float32),
        "stamp": rows["stamp"][now],
        "source": rows["source"][now].astype(np.int64),
        "trial_index": np.full(steps, trial.meta.id.counter),
        "episode_in_trial": rows["episode"][now].astype(np.int64),
        "frame_index": number,
    }


def views_of(images: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
    """Pictures of a trial by view: (T, views * H, W, 3) → name → (T, H, W, 3)."""
    height = shape.size[0]
    return {f"{_IMAGE}{i}": images[:, i * height : (i + 1) * height] for i in range(shape.views)}
