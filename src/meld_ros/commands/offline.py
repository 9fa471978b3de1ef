"""`meld train --from-data`: a run whose data is there before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.config import Config, ConfigError
from meld_core.exchange.offline import DataSet, adapted, take_in
from meld_core.storage.run_folder import RunFolder, run_folder
from meld_ros.launching import new_run_name
from meld_ros.share import overridden, resolve_config

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Train


def prepare_from_data(command: Train, overrides: Sequence[str]) -> tuple[Config, RunFolder]:
    """The run's config, its schedule adapted to the data, and its folder with the data inside."""
    if command.resume and not command.run:
        raise ConfigError("--resume needs --run NAME to say which run to go on with")
    data = DataSet.of([Path(name) for name in command.from_data])
    base = None if command.config else data.config()
    if base is None:
        base = resolve_config(command.robot, command.task, command.config)
    base = overridden(base, overrides)
    with _shown("reading", len(data.paths)) as count:
        config = overridden(adapted(base, data, count), overrides)
    folder = run_folder(command.run or new_run_name("train"))
    folder = RunFolder(folder.path.resolve()).create(config, resume=command.resume)
    with _shown("taking in", len(data.paths)) as count:
        take_in(config, folder, data, count)
    return config, folder


@contextmanager
def _shown(what: str, total: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
