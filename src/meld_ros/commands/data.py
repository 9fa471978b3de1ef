"""`meld data ...`: each action is one function in a module of its own, imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from meld_core.storage.run_folder import RunFolder, named_run
from meld_ros.commands import data_arguments as given_as

ACTIONS: dict[type, str] = {
    given_as.Verify: "data_verify",
    given_as.Record: "data_record",
    given_as.Recover: "data_recover",
    given_as.Import: "data_import",
    given_as.Replay: "data_replay",
    given_as.Export: "data_export",
}
"""Arguments of an action → the module of `meld_ros.commands` whose `run` does it and gives the exit code."""


def data(command: given_as.Data, line: str) -> int:
    """`meld data`."""
    module = importlib.import_module(f"meld_ros.commands.{ACTIONS[type(command.action)]}")
    run: Callable[[Any], int] = module.run
    return run(command.action)


def run_of(name: str) -> RunFolder:
    """The run that a person named, by name or by folder. Raises RunError where there is none."""
    return named_run(name).open()


class Counts(Protocol):
    """Something that is read message by message."""

    messages: int
    """Read so far."""


@contextmanager
def shown(what: str, total: int, source: Counts) -> Iterator[Callable[[], None]]:
    """A bar of progress over the messages of a bag. Yields what brings it up to date."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.update(task, completed=source.messages)
