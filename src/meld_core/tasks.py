"""Tasks: one problem instance each, and the splits they are drawn from.

Which port is live is hidden from the agent; where the box stands is visible in the images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from meld_core.config import ConfigError, TaskConfig, did_you_mean

SPLITS = ("train", "validation", "held_out")

_CELL = 0.005
"""Edge of a cell of the box-position grid [m]; a cell belongs to exactly one split."""
_CELL_MARGIN = 0.0005
"""Positions stay this far inside their cell, so that splits are at least twice this apart [m]."""
_SHAPED_SCALE = 0.05
"""Distance at which the shaped reward has fallen to 1 - tanh(1) [m]."""
_SWITCHES = 3
"""Stream of a task's seed that moves the live port; the simulation draws from streams 1 and 2."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One problem instance: where the box stands and which of its ports is live."""

    id: str
    split: str
    seed: int
    box_position: tuple[float, float, float]
    """Centre of the box's top face in base_link [m]."""
    box_yaw: float
    """[rad] about base_link z."""
    ports: tuple[tuple[float, float, float], ...]
    """Centre of each port's mouth in base_link [m]."""
    live: int
    """Index of the port that is live in the first episode: the hidden task."""
    later_live: tuple[int, ...] = ()
    """Live port of each later episode; empty where `live` stays (`task.switch_probability` 0)."""

    def live_in(self, episode: int) -> int:
        """Index of the live port in an episode, counted from 0; after the last one that is told it stays."""
        return live_port(self.live, self.later_live, episode)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; `later_live` only where there is one."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain if self.later_live else {k: v for k, v in plain.items() if k != "later_live"}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Task:
        """Inverse of `to_json`. Raises ValueError, TypeError or KeyError where that is no task."""
        lists = {"box_position": tuple(raw["box_position"]), "ports": tuple(tuple(p) for p in raw["ports"])}
        task = Task(**{**raw, **lists, "later_live": tuple(raw.get("later_live", ()))})
        _check_task(task)
        return task


def _check_task(task: Task) -> None:
    """Raise ValueError unless every field is of its type and within its range."""
    points = (task.box_position, *task.ports)
    numbers = [number for point in points for number in point] + [task.box_yaw]
    fits = isinstance(task.id, str) and isinstance(task.split, str) and type(task.seed) is int and bool(task.ports)
    fits = fits and all(len(point) == 3 for point in points)
    fits = fits and all(type(number) in (int, float) and abs(number) < 1e6 for number in numbers)
    lives = (task.live, *task.later_live)
    if not fits or not all(type(live) is int and 0 <= live < len(task.ports) for live in lives):
        raise ValueError(f"task {str(task.id)[:40]!a} has a field of another type or range than a task's")


def live_port(live: int, later_live: Sequence[int], episode: int) -> int:
    """Index of the live port in an episode, counted from 0; after the last one that is told it stays."""
    return int(later_live[min(episode, len(later_live)) - 1]) if episode and later_live else int(live)


def draw_later_live(live: int, config: TaskConfig, rng: np.random.Generator) -> tuple[int, ...]:
    """Live port of each episode after the first: the law by which it moves, without notice.

    Before every episode after the first it moves with probability `task.switch_probability`, to each other port
    equally likely. Nothing is drawn, and () returned, where that is 0.
    """
    later: list[int] = []
    for _ in range(config.episodes - 1 if config.switch_probability else 0):
        moves = rng.random() < config.switch_probability
        live = (live + int(rng.integers(1, config.ports))) % config.ports if moves else live
        later.append(live)
    return tuple(later)


class TaskFamily(Protocol):
    """Draws tasks; a pure function of (split, seed)."""

    def sample(self, split: str, seed: int) -> Task:
        """The task number `seed` of a split."""

    def split_hash(self) -> str:
        """sha256 of everything that defines the splits."""


class InsertionTasks:
    """A box with identical ports in a row along its own y axis.

    The range of box positions is cut into 5 mm cells; cell (i, j) belongs to validation if (i + 2j) mod 5 is 0, to
    held-out if it is 1, else to train: the splits are disjoint in pose.
    """

    def __init__(self, config: TaskConfig) -> None:
        if config.switch_probability and config.ports < 2:
            raise ConfigError("task.switch_probability needs at least 2 ports to move between; set task.ports to 2")
        if config.box_yaw_beyond > config.box_yaw_range:
            raise ConfigError(
                f"task.box_yaw_beyond {config.box_yaw_beyond} rad is wider than task.box_yaw_range "
                f"{config.box_yaw_range} rad and leaves no heading"
            )
        self._config = config
        self._cells = {split: self._cells_of(split) for split in SPLITS}

    def _cells_of(self, split: str) -> list[tuple[int, int]]:
        nx, ny = (max(1, round(2 * r / _CELL)) for r in self._config.box_range)
        wanted = {"validation": (0,), "held_out": (1,), "train": (2, 3, 4)}[split]
        return [(i, j) for i in range(nx) for j in range(ny) if (i + 2 * j) % 5 in wanted and self._is_beyond((i, j))]

    def _is_beyond(self, cell: tuple[int, int]) -> bool:
        """Whether no part of a cell lies within `task.box_beyond`."""
        lows = [c * _CELL - r for c, r in zip(cell, self._config.box_range, strict=True)]
        within = zip(lows, self._config.box_beyond, strict=True)
        return not all(low < beyond - 1e-9 and low + _CELL > 1e-9 - beyond for low, beyond in within)

    def sample(self, split: str, seed: int) -> Task:
        """The task number `seed` of a split.

        Raises:
            ConfigError: on an unknown split, or where `task.box_range` is too small to hold all three.
        """
        if split not in SPLITS:
            raise ConfigError(f"unknown split '{split}'{did_you_mean(split, SPLITS)}")
        cells, config = self._cells[split], self._config
        if not cells:
            raise ConfigError(
                f"task.box_range {config.box_range} m leaves no cell for split '{split}' beyond task.box_beyond "
                f"{config.box_beyond} m; 0.0125 m more than that is enough"
            )
        rng = np.random.default_rng([SPLITS.index(split), seed])
        cell = cells[rng.integers(len(cells))]
        inside = rng.uniform(_CELL_MARGIN, _CELL - _CELL_MARGIN, size=2)
        offset = [c * _CELL + d - r for c, d, r in zip(cell, inside, config.box_range, strict=True)]
        yaw = self._heading(float(rng.uniform(-config.box_yaw_range, config.box_yaw_range)))
        live = int(rng.integers(config.ports))
        x, y, z = config.box_center
        center = (x + float(offset[0]), y + float(offset[1]), z)
        later = draw_later_live(live, config, np.random.default_rng([SPLITS.index(split), seed, _SWITCHES]))
        ports = port_positions(config, center, yaw)
        return Task(f"{config.name}-{split}-{seed}", split, seed, center, yaw, ports, live, later)

    def _heading(self, drawn: float) -> float:
        """A heading drawn evenly from the whole range, moved beyond `task.box_yaw_beyond` [rad]."""
        beyond, widest = self._config.box_yaw_beyond, self._config.box_yaw_range
        return math.copysign(beyond + abs(drawn) * (1.0 - beyond / widest), drawn) if beyond else drawn

    def split_hash(self) -> str:
        """sha256 of the config and the cells of each split."""
        settings = dataclasses.asdict(self._config)
        del settings["taught"]  # another family's
        if not self._config.switch_probability:  # these tasks are those of a family that cannot switch at all
            del settings["switch_probability"]
        text = json.dumps([settings, self._cells, _CELL, _CELL_MARGIN], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def port_positions(
    config: TaskConfig, center: tuple[float, float, float], yaw: float
) -> tuple[tuple[float, float, float], ...]:
    """Centres of the port mouths in base_link [m], a row along the box's y axis."""
    offsets = [(i - (config.ports - 1) / 2) * config.port_spacing for i in range(config.ports)]
    x, y, z = center
    return tuple((x - math.sin(yaw) * d, y + math.cos(yaw) * d, z) for d in offsets)


def in_port_frame(tool_position: np.ndarray, task: Task, port: int) -> np.ndarray:
    """Tool position relative to a port's mouth, in the box's axes (z up) [m]; (..., 3) → (..., 3)."""
    offset = np.asarray(tool_position, dtype=np.float64) - np.asarray(task.ports[port])
    cos, sin = math.cos(task.box_yaw), math.sin(task.box_yaw)
    x, y = offset[..., 0], offset[..., 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x, offset[..., 2]], axis=-1)


def in_port(tool_position: np.ndarray, task: Task, port: int, config: TaskConfig, depth: float) -> np.ndarray:
    """Whether the tip is at least `depth` [m] below a port's mouth and laterally inside it; (..., 3) → (...) bool."""
    offset = in_port_frame(tool_position, task, port)
    lateral = config.clearance + 0.002  # the tip may rest against a wall; contacts give by less than 2 mm
    inside = (np.abs(offset[..., :2]) <= lateral).all(axis=-1)
    return np.asarray(inside & (offset[..., 2] <= -depth))


def seated(tool_position: np.ndarray, task: Task, port: int, config: TaskConfig) -> np.ndarray:
    """Whether the plug is seated in a port; (..., 3) → (...) bool."""
    return in_port(tool_position, task, port, config, config.depth)


def shaped_reward(tool_position: np.ndarray, task: Task, port: int, config: TaskConfig) -> np.ndarray:
    """1 where the plug is seated in a port, less by the tanh of its distance to there; (..., 3) → (...) in [0, 1]."""
    seat = in_port_frame(tool_position, task, port) + np.array([0.0, 0.0, config.depth])
    seat[..., 2] = np.maximum(seat[..., 2], 0.0)  # deeper is not farther
    return np.asarray(1.0 - np.tanh(np.linalg.norm(seat, axis=-1) / _SHAPED_SCALE))
