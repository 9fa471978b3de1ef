"""The table of task families: what `task.name` may be."""

from __future__ import annotations

from collections.abc import Callable

from meld_core.config import ConfigError, TaskConfig, did_you_mean
from meld_core.tasks import InsertionTasks, TaskFamily
from meld_core.taught_tasks import TaughtTasks

TASKS: dict[str, Callable[[TaskConfig], TaskFamily]] = {"insertion": InsertionTasks, "ethernet": TaughtTasks}


def make_tasks(config: TaskConfig) -> TaskFamily:
    """The task family of a config. Raises ConfigError on an unknown name."""
    if config.name not in TASKS:
        raise ConfigError(f"unknown task '{config.name}'{did_you_mean(config.name, TASKS)} [setting: task.name]")
    return TASKS[config.name](config)
