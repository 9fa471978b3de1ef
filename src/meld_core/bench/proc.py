"""What a process uses, from /proc (Linux)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from meld_core.bench.figures import BenchError


@dataclasses.dataclass(frozen=True)
class Use:
    """Of one process at one moment."""

    memory: float
    """Anonymous memory that is resident [MB]: what the program allocated, not the libraries that it maps."""
    files: int
    """Open file handles."""
    threads: int


def use_of(pid: int) -> Use | None:
    """None where there is no such process (any more)."""
    folder = Path(f"/proc/{pid}")
    try:
        lines = (folder / "status").read_text(encoding="utf-8").splitlines()
        files = len(os.listdir(folder / "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise BenchError(f"cannot read {folder}: {error.strerror}") from None
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    if "RssAnon" not in status:
        return None  # it has ended and waits to be collected
    return Use(float(status["RssAnon"].split()[0]) / 1024, files, int(status["Threads"]))
