"""What a piece of work costs in wall and CPU time, also where it is interrupted and gone on with."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

EFFORT_FILE = "effort.jsonl"


def cpu_seconds() -> float:
    """CPU time [s] of this process, all its threads, and its children that have ended."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in usage)


class Effort:
    """Appends to `effort.jsonl` of a folder what one phase has cost so far. One session per process and phase.

    Args:
        folder: Where the file lies.
        phase: What is being done.
        since_start: Count from the start of this process, not from now.
    """

    def __init__(self, folder: Path, phase: str, *, since_start: bool = False) -> None:
        self._path, self._phase = folder / EFFORT_FILE, phase
        rows = read_effort(folder)
        self._before = cpu_total(rows, phase)
        self._session = 1 + max((row["session"] for row in rows), default=-1)
        self._wall, self._cpu = time.monotonic(), 0.0 if since_start else cpu_seconds()

    @property
    def cpu(self) -> float:
        """CPU time of the phase [s], earlier sessions included."""
        return self._before + cpu_seconds() - self._cpu

    def mark(self, steps: int = 0) -> None:
        """Append where the session stands: control steps so far, wall and CPU time since its start [s]."""
        row = {
            "session": self._session,
            "phase": self._phase,
            "steps": steps,
            "wall": round(time.monotonic() - self._wall, 3),
            "cpu": round(cpu_seconds() - self._cpu, 3),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_effort(folder: Path) -> list[dict[str, Any]]:
    """Rows of a folder's effort file, in order; a half-written last line is left out."""
    try:
        lines = (folder / EFFORT_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def cpu_total(rows: list[dict[str, Any]], phase: str = "") -> float:
    """CPU time [s] of all sessions of a phase (of every phase where it is empty)."""
    return sum(row["cpu"] for row in _last_of_sessions(rows, phase))


def wall_total(rows: list[dict[str, Any]], phase: str = "") -> float:
    """Wall time [s] likewise; the time between sessions does not count."""
    return sum(row["wall"] for row in _last_of_sessions(rows, phase))


def _last_of_sessions(rows: list[dict[str, Any]], phase: str) -> list[Mapping[str, Any]]:
    return list({row["session"]: row for row in rows if row["phase"] == phase or not phase}.values())


def time_line(rows: list[dict[str, Any]], phase: str) -> Iterator[tuple[int, float, float]]:
    """(steps, wall [s], CPU [s]) after every mark of a phase, over all its sessions."""
    wall = cpu = 0.0
    last: Mapping[str, Any] | None = None
    for row in rows:
        if row["phase"] != phase:
            continue
        if last is not None and row["session"] != last["session"]:
            wall, cpu = wall + last["wall"], cpu + last["cpu"]
        last = row
        yield row["steps"], wall + row["wall"], cpu + row["cpu"]
