"""Arguments of `meld task ...`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from meld_ros.commands.arguments import Overrides


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teach:
    """Teach the ports of one placement of the box: seat the plug in each (with `meld teleop`), confirm, repeat."""

    file: tyro.conf.Positional[str]
    """File of taught ports; a placement is added to it. Use it with task=ethernet, task.taught=FILE."""
    placement: str = "middle"
    """Name of where the box stands now."""
    split: Literal["train", "validation", "held_out"] = "train"
    """Split that the placement belongs to."""
    held_out: tuple[int, ...] = ()
    """Ports (counted from 1 along the box's y axis) that are live in held-out tasks only."""
    repeats: int = 3
    """Teachings of each port."""
    tolerance: float = 0.003
    """Teachings further than this from their mean are refused [m]."""
    replace: bool = False
    """Teach a placement again that is in the file."""
    namespace: str = ""
    """Namespace of robot_node."""
    robot: str = "widowx"
    """Robot: a file in config/robots."""
    config: str = ""
    """Settings: a file in config/ by name, or any YAML file by path."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """Read a file of taught ports strictly; show ports, splits and hash."""

    file: tyro.conf.Positional[str]
    """File of taught ports."""
    robot: str = "widowx"
    """Robot: a file in config/robots."""
    config: str = ""
    """Settings: a file in config/ by name, or any YAML file by path."""
    set: Overrides = dataclasses.field(default_factory=list)
    """Single settings, group.name=value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attend:
    """Stand by at the bench: each change that a run waits for is shown; confirm it by Enter once it is made."""

    namespace: str = ""
    """Namespace of robot_node."""
    once: bool = False
    """Wait for one change, confirm it at once, and end: for scripts that made it."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Tasks on a real bench: teach ports, check them, stand by while tasks are changed by hand."""

    action: tyro.conf.OmitArgPrefixes[
        Annotated[Teach, tyro.conf.subcommand("teach", prefix_name=False)]
        | Annotated[Check, tyro.conf.subcommand("check", prefix_name=False)]
        | Annotated[Attend, tyro.conf.subcommand("attend", prefix_name=False)]
    ]
    """What to do."""
