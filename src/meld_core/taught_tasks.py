"""Tasks on a real bench: ports that were taught by moving the tool there, one placement of the box after the other.

A file of `meld task teach` holds them. Each pair of a placement and a port belongs to one split, so that a port (or a
placement) that is held out is never live while training.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meld_core.config import Config, ConfigError, TaskConfig, did_you_mean, read_yaml
from meld_core.sim.arm import arm_limits
from meld_core.storage.files import write_atomic
from meld_core.tasks import SPLITS, Task

_APART = 0.005
"""Ports of different splits are at least this far apart [m], as the cells of simulated tasks are told apart."""
_HEADER = (
    "# Ports taught by `meld task teach`: mouths in base_link [m], largest distance of a teaching from its mean [m].\n"
)
_KEYS = ("mouths", "spread", "teachings", "splits")
Point = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the box stood, told by its ports."""

    name: str
    mouths: tuple[Point, ...]
    """Centre of each port's mouth in base_link [m], in a row along the box's own y axis."""
    spread: tuple[float, ...]
    """How far the teachings of each port were from their mean at most [m]."""
    teachings: tuple[int, ...]
    splits: tuple[str, ...]
    """Split in which each port may be live."""

    @property
    def center(self) -> Point:
        """Centre of the box's top face [m]."""
        x, y, z = np.mean(self.mouths, axis=0)
        return float(x), float(y), float(z)

    @property
    def yaw(self) -> float:
        """Heading of the box about base_link z [rad], from its first to its last port; 0 with one port."""
        dx, dy, _ = np.subtract(self.mouths[-1], self.mouths[0])
        return math.atan2(0.0 - dx, dy) if len(self.mouths) > 1 else 0.0


def read_taught(path: Path) -> tuple[Placement, ...]:
    """Every placement of a file.

    Raises:
        ConfigError: where the file is missing, holds anything unknown, or ports of two splits are in one place.
    """
    raw = read_yaml(path)
    if list(raw) != ["placements"] or not isinstance(raw["placements"], Mapping) or not raw["placements"]:
        raise ConfigError(f"{path} must hold 'placements: {{NAME: ...}}', as `meld task teach` writes it")
    placements = tuple(_placement(str(name), about, path) for name, about in raw["placements"].items())
    if len({len(placement.mouths) for placement in placements}) > 1:
        raise ConfigError(f"the placements of {path} have different numbers of ports; teach all of each")
    _check_apart(placements, path)
    return placements


def _placement(name: str, about: Any, path: Path) -> Placement:
    where = f"placement '{name}' of {path}"
    if not isinstance(about, Mapping):
        raise ConfigError(f"{where} must hold {', '.join(_KEYS)}")
    for key in about:
        if key not in _KEYS:
            raise ConfigError(f"{where} has an unknown key '{key}'{did_you_mean(str(key), _KEYS)}")
    if missing := [key for key in _KEYS if not isinstance(about.get(key), list)]:
        raise ConfigError(f"{where} lacks the list '{missing[0]}'")
    try:
        mouths = tuple((float(x), float(y), float(z)) for x, y, z in about["mouths"])
        spread, teachings = tuple(map(float, about["spread"])), tuple(map(int, about["teachings"]))
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: mouths are [x, y, z] in metres, spread metres, teachings whole numbers") from None
    splits = tuple(map(str, about["splits"]))
    if not len(mouths) == len(spread) == len(teachings) == len(splits) > 0:
        raise ConfigError(f"{where} has {len(mouths)} mouths, {len(spread)} spreads, {len(splits)} splits")
    if not np.isfinite([*np.ravel(mouths), *spread]).all() or min(spread) < 0 or min(teachings) < 1:
        raise ConfigError(f"{where} holds numbers that cannot be")
    for split in splits:
        if split not in SPLITS:
            raise ConfigError(f"{where} has the split '{split}'{did_you_mean(split, SPLITS)}")
    return Placement(name, mouths, spread, teachings, splits)


def _check_apart(placements: tuple[Placement, ...], path: Path) -> None:
    every = [(p.name, i + 1, m, p.splits[i]) for p in placements for i, m in enumerate(p.mouths)]
    for k, (name, port, mouth, split) in enumerate(every):
        for other, its_port, its_mouth, its_split in every[:k]:
            distance = float(np.linalg.norm(np.subtract(mouth, its_mouth)))
            if split != its_split and distance < _APART:
                raise ConfigError(
                    f"{path}: port {port} of '{name}' ({split}) and port {its_port} of '{other}' ({its_split}) are "
                    f"{1000 * distance:.1f} mm apart: the same place in two splits; move the box, or use one split"
                )


def write_taught(placements: tuple[Placement, ...], path: Path) -> None:
    """Write a file, and read it back strictly. Raises ConfigError as `read_taught`, StorageError where it cannot."""
    text = _HEADER + "placements:\n" + "".join(map(_text, placements))
    draft = path.with_name(f".{path.name}.draft.yaml")
    write_atomic(draft, text.encode())
    try:
        read_taught(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _text(placement: Placement) -> str:
    mouths = ", ".join(f"[{x:.5f}, {y:.5f}, {z:.5f}]" for x, y, z in placement.mouths)
    return (
        f"  {json.dumps(placement.name)}:\n"
        f"    mouths: [{mouths}]\n"
        f"    spread: [{', '.join(f'{value:.5f}' for value in placement.spread)}]\n"
        f"    teachings: {list(placement.teachings)}\n"
        f"    splits: [{', '.join(placement.splits)}]\n"
    )


class TaughtTasks:
    """Tasks whose ports were taught (`task.taught`): any port of its split, at its placement, equally likely."""

    def __init__(self, config: TaskConfig) -> None:
        """Raises ConfigError where the file cannot be used, or does not fit the other settings."""
        if not config.taught:
            raise ConfigError("no ports were taught; do it with `meld task teach FILE` [setting: task.taught]")
        if config.switch_probability:
            raise ConfigError("a person cannot move the cable within a trial unseen [setting: task.switch_probability]")
        self._config, self._placements = config, read_taught(Path(config.taught))
        for placement in self._placements:
            check_fits(placement, config)
        self._pairs = {split: list(self._pairs_of(split)) for split in SPLITS}

    def _pairs_of(self, split: str) -> Iterator[tuple[Placement, int]]:
        for placement in self._placements:
            yield from ((placement, port) for port, its in enumerate(placement.splits) if its == split)

    def sample(self, split: str, seed: int) -> Task:
        """The task number `seed` of a split.

        Raises:
            ConfigError: on an unknown split, or where no taught port belongs to it.
        """
        if split not in SPLITS:
            raise ConfigError(f"unknown split '{split}'{did_you_mean(split, SPLITS)}")
        pairs = self._pairs[split]
        if not pairs:
            raise ConfigError(f"no port of {self._config.taught} belongs to '{split}'; teach one with --split {split}")
        rng = np.random.default_rng([SPLITS.index(split), seed])
        placement, live = pairs[int(rng.integers(len(pairs)))]
        name = f"{self._config.name}-{split}-{seed}-{placement.name}"
        return Task(name, split, seed, placement.center, placement.yaw, placement.mouths, live)

    def split_hash(self) -> str:
        """sha256 of the settings, of every taught port and its split; not of where the file lies."""
        settings = dataclasses.asdict(self._config)
        del settings["taught"]
        taught = [(p.name, p.mouths, p.splits) for p in self._placements]
        return hashlib.sha256(json.dumps([settings, taught], sort_keys=True).encode()).hexdigest()


def check_fits(placement: Placement, config: TaskConfig) -> None:
    """Raise ConfigError where a placement is not the box of the settings: another number, spacing or height."""
    where = f"placement '{placement.name}'"
    if len(placement.mouths) != config.ports:
        raise ConfigError(f"{where} has {len(placement.mouths)} ports, task.ports is {config.ports}")
    mouths = np.array(placement.mouths)
    gaps = np.linalg.norm(np.diff(mouths[:, :2], axis=0), axis=1)
    if len(gaps) and np.abs(gaps - config.port_spacing).max() > config.clearance:
        measured = ", ".join(f"{1000 * gap:.1f}" for gap in gaps)
        raise ConfigError(
            f"{where}: its ports are {measured} mm apart, task.port_spacing says {1000 * config.port_spacing:.1f} mm "
            f"(within task.clearance, {1000 * config.clearance:.1f} mm); teach them in order, or mend the setting"
        )
    if np.ptp(mouths[:, 2]) > config.clearance:
        raise ConfigError(
            f"{where}: the heights of its ports differ by {1000 * np.ptp(mouths[:, 2]):.1f} mm; a tilted box?"
        )


def check_reach(mouth: Point, config: Config) -> None:
    """Raise ConfigError where a port lies outside the workspace, into which the tool may not go."""
    limits = arm_limits(config)
    seat = np.array(mouth) - [0.0, 0.0, config.task.depth]
    if ((seat < limits.workspace_lower) | (np.array(mouth) > limits.workspace_upper)).any():
        raise ConfigError(
            f"a port at {[round(value, 3) for value in mouth]} m lies outside the workspace "
            f"{limits.workspace_lower.round(3).tolist()} to {limits.workspace_upper.round(3).tolist()} m "
            "[settings: task.box_center, robot.workspace_size]"
        )
