"""DiskRoom: whether there is room to store what comes next, and a reserve for what is already under way."""

from __future__ import annotations

import os
from pathlib import Path

from meld_core.sections.storage import StorageConfig
from meld_core.storage.files import make_folder

MEGABYTE = 1_000_000
_RESERVE = ".reserve"


class DiskRoom:
    """Asked before each episode and each round of updates.

    Args:
        folder: Any folder on the file system in question; it is made where missing.
        config: How much must be free, and how much is set aside.
    """

    def __init__(self, folder: Path, config: StorageConfig) -> None:
        self._folder, self._config = make_folder(Path(folder)), config
        self._reserve = self._folder / _RESERVE

    def shortage(self) -> str:
        """Why nothing new may begin: one sentence; "" where there is room.

        Sets the reserve aside where that has not been done: if somebody else fills the disk in the middle of an
        episode, the episode is stored in its place.
        """
        free = self._free()
        needed = self._config.min_free
        if free >= needed:
            return "" if self._make_reserve() else self._sentence(free, needed)
        return self._sentence(free, needed)

    def _free(self) -> float:
        """Megabytes that this process may still write."""
        facts = os.statvfs(self._folder)
        return facts.f_bavail * facts.f_frsize / MEGABYTE

    def _sentence(self, free: float, needed: float) -> str:
        return (
            f"the disk is nearly full: {free:.0f} MB are free in {self._folder}, {needed:g} MB are needed "
            "(storage.min_free); paused until there is room, nothing is lost"
        )

    def _make_reserve(self) -> bool:
        size = int(self._config.reserve * MEGABYTE)
        if size == 0 or (self._reserve.is_file() and self._reserve.stat().st_size >= size):
            return True
        try:
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Give the reserve to whoever writes now; False where there is none."""
        if not self._reserve.is_file():
            return False
        self._reserve.unlink()
        return True
