"""What `meld task ...` does."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from meld_core.config import Config, ConfigError
from meld_core.taught_tasks import Placement, TaughtTasks, check_fits, check_reach, read_taught, write_taught
from meld_ros.network import join_graph
from meld_ros.share import resolve_config

if TYPE_CHECKING:
    from meld_ros.commands.task_arguments import Attend, Check, Task, Teach

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


def task(command: Task, line: str) -> int:
    """`meld task`."""
    from meld_ros.commands import task_arguments

    action = command.action
    if isinstance(action, task_arguments.Teach):
        return _teach(action)
    if isinstance(action, task_arguments.Check):
        return _check(action)
    return _attend(action)


def _settings(command: Teach | Check) -> Config:
    overrides = [*itertools.chain(*command.set), f"task.taught={command.file}"]
    return resolve_config(command.robot, "ethernet", command.config, overrides)


def _teach(command: Teach) -> int:
    from meld_core.teaching import Teaching
    from meld_ros.commands.training import require_ros

    config, path = _settings(command), Path(command.file)
    before = read_taught(path) if path.is_file() else ()
    splits = _splits(command, config, before)
    teaching = Teaching(
        config.task.ports,
        command.repeats,
        command.tolerance,
        config.reward.goal_depth,
        lambda mouth: check_reach(mouth, config),
    )
    require_ros()
    from meld_ros.teach_node import teach_live

    join_graph()
    teach_live(teaching, command.namespace)
    placement = teaching.placement(command.placement, splits)
    check_fits(placement, config.task)
    placements = (*(other for other in before if other.name != placement.name), placement)
    write_taught(placements, path)
    _show(placements, path, config)
    return 0


def _splits(command: Teach, config: Config, before: tuple[Placement, ...]) -> tuple[str, ...]:
    """Split of each port; refuses names and numbers before anybody has taught anything."""
    if not _NAME.fullmatch(command.placement):
        raise ConfigError(f"a placement is called by up to 32 of A-Z a-z 0-9 _ -, got {command.placement!a}")
    if command.placement in {placement.name for placement in before} and not command.replace:
        raise ConfigError(
            f"{command.file} has a placement '{command.placement}' already; teach it again with --replace"
        )
    if wrong := [port for port in command.held_out if not 1 <= port <= config.task.ports]:
        raise ConfigError(f"there is no port {wrong[0]} to hold out; the box has ports 1 to {config.task.ports}")
    return tuple("held_out" if port in command.held_out else command.split for port in range(1, config.task.ports + 1))


def _check(command: Check) -> int:
    config, path = _settings(command), Path(command.file)
    placements = read_taught(path)
    for placement in placements:
        check_fits(placement, config.task)
        for mouth in placement.mouths:
            check_reach(mouth, config)
    _show(placements, path, config)
    return 0


def _show(placements: tuple[Placement, ...], path: Path, config: Config) -> None:
    table = Table()
    for column in ("placement", "port", "mouth [m]", "spread [mm]", "teachings", "split"):
        table.add_column(column)
    for placement in placements:
        for port, mouth in enumerate(placement.mouths):
            where, spread = ", ".join(f"{value:.4f}" for value in mouth), f"{1000 * placement.spread[port]:.1f}"
            teachings = str(placement.teachings[port])
            table.add_row(placement.name, str(port + 1), where, spread, teachings, placement.splits[port])
    Console().print(table)
    print(f"split hash {TaughtTasks(config.task).split_hash()}")
    print(f"use it: --task ethernet --set task.taught={path}")


def _attend(command: Attend) -> int:
    from meld_ros.commands.training import require_ros

    require_ros()
    from meld_ros.attend_node import attend

    join_graph()
    attend(command.namespace, once=command.once)
    return 0
