"""Writing files so that a crash at any moment leaves either the old file, or the new one, never half of one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = ".tmp"


class StorageError(RuntimeError):
    """The disk refused; nothing half-written is left behind."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write, fsync, rename into place, fsync the folder.

    Raises:
        StorageError: where the disk is full or the folder is not writable; the old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}; make room or mend the folder, then go on") from None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """Create a folder and its parents, durably.

    Raises:
        StorageError: where that is not possible.
    """
    try:
        if not folder.is_dir():
            make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(f"cannot create the folder {folder}: {error.strerror}") from None
    return folder


def remove_temporary(folder: Path) -> list[Path]:
    """Remove what a crashed `write_atomic` left; only the folder's one writer may call this."""
    left = sorted(folder.glob(f".*{_TEMPORARY}"))
    for path in left:
        path.unlink(missing_ok=True)
    return left


def set_aside(path: Path, reason: str, quarantine: Path) -> Path:
    """Move a bad file (or folder) into `quarantine/`, with the reason beside it. Nothing is ever deleted."""
    make_folder(quarantine)
    target, number = quarantine / path.name, 1
    while target.exists():
        target, number = quarantine / f"{path.name}.{number}", number + 1
    path.replace(target)
    sync_folder(path.parent)
    write_atomic(target.with_name(f"{target.name}.reason.txt"), f"{reason}\n".encode())
    return target


@contextlib.contextmanager
def locked(path: Path, meaning: str) -> Iterator[None]:
    """Hold an advisory lock on a file; the kernel frees it when this process dies, however it dies.

    Raises:
        StorageError: where another process holds it, with `meaning` and that process's id.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"cannot open the lock {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise StorageError(f"{meaning} (process {holder})") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
