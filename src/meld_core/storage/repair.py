"""What `meld data verify DIR --repair` does: sets aside what is not sound. Nothing is ever deleted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from meld_core.storage.files import set_aside
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.verify import Report, verify


def repair(folder: Path) -> tuple[Report, list[str]]:
    """Move every unsound and every surplus file into the `quarantine/` beside it, with the reason.

    What was lost stays lost, and is reported again.

    Returns:
        The state after it, and one sentence per file that was moved.

    Raises:
        TrialError: where there is no such folder.
        StorageError: where a training is using it, or the disk refuses.
    """
    with _nobody_else(Path(folder)):
        before = verify(folder)
        done = []
        for path, reason in {**before.surplus, **before.problems}.items():
            target = set_aside(path, reason, _quarantine_of(path))
            done.append(f"moved {path} to {target.parent}: {reason}")
        return verify(folder), done


def _quarantine_of(path: Path) -> Path:
    """The spool keeps one for its three folders."""
    folder = path.parent
    if folder.parent.name == "open":
        folder = folder.parent
    return (folder.parent if folder.name in ("pending", "open") else folder) / "quarantine"


@contextlib.contextmanager
def _nobody_else(folder: Path) -> Iterator[None]:
    """Hold the lock of the run that the folder is, or belongs to."""
    near = [path for path in (folder, folder.resolve().parent) if (path / "config.yaml").is_file()]
    run = RunFolder(near[0]) if near else None
    with run.lock() if run is not None else contextlib.nullcontext():
        yield
