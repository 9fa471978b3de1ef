"""`meld data export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.exchange.folders import read_trial, trial_paths
from meld_core.storage.files import StorageError

if TYPE_CHECKING:
    from meld_ros.commands.data_arguments import Export


def run(command: Export) -> int:
    """0 once everything is written."""
    from rich.console import Console
    from rich.progress import track

    from meld_core.exchange.lerobot import export_lerobot
    from meld_core.exchange.npz import export_npz

    paths, out = trial_paths(Path(command.folder)), new_folder(command.out)
    trials = (read_trial(path) for path in paths)
    shown = track(trials, "exporting", total=len(paths), console=Console(stderr=True), transient=True)
    if command.format == "npz":
        print(f"{export_npz(shown, out)} archives in {out}")
    else:
        print(f"{export_lerobot(shown, out)} episodes of {len(paths)} trials in {out}")
    return 0


def new_folder(name: str) -> Path:
    """A folder that is still to be made. Raises StorageError where it exists."""
    folder = Path(name)
    if folder.exists():
        raise StorageError(f"{folder} exists already; give --out a folder that is still to be made")
    return folder
