"""`meld bench`: subjects measured one after the other, shown as one table, kept under flat keys in a file."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from meld_core.bench.figures import BenchError, Figure, Goal, Measure, Setup, machine
from meld_core.settings import did_you_mean
from meld_core.storage.files import write_atomic

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Bench

SUBJECTS: dict[str, str] = {
    "learner": "meld_core.bench.learner:measure",
    "tick": "meld_core.bench.tick:measure",
    "graph": "meld_ros.bench.graph:measure",
    "sim": "meld_core.bench.simulation:measure",
    "replay": "meld_core.bench.replay:measure",
    "growth": "meld_core.bench.growth:measure",
    "durability": "meld_ros.commands.durability:measure",
    "soak": "meld_ros.commands.soak:measure",
    "safety": "meld_ros.commands.safety:measure",
}
"""Subject → its `Measure`, imported when it is asked for. Adding one is one function, one line."""
SPEED = tuple(name for name in SUBJECTS if name not in ("durability", "soak", "safety"))
"""What is measured where nobody says what."""

_WIDTH = 140
"""Of a table that goes to a file [characters]."""


def run_bench(command: Bench, line: str) -> int:
    """Measure, show, write. Returns the exit code: 1 where a promise was not kept."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: a fork does not bear its threads
    subjects = [_known(name) for name in command.what or SPEED]
    console, figures = Console(stderr=True), []
    for subject in subjects:
        found = list(_measured(subject, command, console))
        figures += found
        if command.json:
            _write(Path(command.json), subject, found, line)
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table_of(figures))
    return int(any(figure.goal.promise and not figure.goal.met for figure in figures if figure.goal))


def _known(subject: str) -> str:
    if subject not in SUBJECTS:
        raise BenchError(f"there is nothing to measure called '{subject}'{did_you_mean(subject, SUBJECTS)}")
    return subject


def _measured(subject: str, command: Bench, console: Console) -> Iterator[Figure]:
    """Figures of one subject; a line on stderr says what is under way."""
    module, _, function = SUBJECTS[subject].partition(":")
    measure: Measure = getattr(importlib.import_module(module), function)
    with _live(console) as live:  # it has no thread, which a fork would not bear
        yield from measure(_setup(command, subject, live, console))


def _live(console: Console) -> Live:
    return Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)


def _setup(command: Bench, subject: str, live: Live, console: Console) -> Setup:
    def tell(text: str) -> None:
        if console.is_terminal:
            live.update(f"{subject}: {text}", refresh=True)
        else:
            console.print(f"{subject}: {text}", highlight=False, markup=False, soft_wrap=True)

    return Setup(
        quick=command.quick,
        peer=Path(command.peer) if command.peer else None,
        device=command.device,
        pictures=Path(command.pictures) if command.pictures else None,
        seed=command.seed,
        ticks=command.ticks,
        kills=command.kills,
        hours=command.hours,
        repetitions=command.repetitions,
        soak=command.soak,
        tell=tell,
    )


def table_of(figures: list[Figure]) -> Table:
    """One line per figure."""
    table = Table("measured", "unit", "median", "p99", "times the peer", "share of the bound", "goal", title=machine())
    for figure in figures:
        numbers = (figure.median, figure.p99, figure.ratio_to_peer, figure.fraction_of_bound)
        table.add_row(figure.what, figure.unit, *(_number(number) for number in numbers), _goal(figure.goal))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _goal(goal: Goal | None) -> str:
    if goal is None:
        return ""
    return f"[green]{goal.text}: met[/green]" if goal.met else f"[red]{goal.text}: missed[/red]"


def _write(path: Path, subject: str, figures: list[Figure], line: str) -> None:
    """Put a subject's keys into the file; keys of others stay.

    Raises:
        BenchError: where the file holds something else.
    """
    kept = {name: value for name, value in _read(path).items() if not name.startswith(f"{subject}.")}
    about = {"machine": machine(), "command": line, "date": time.strftime("%Y-%m-%d")}
    about["load"] = f"{os.getloadavg()[0]:.1f} processes ready to run, these included"
    new: dict[str, Any] = {f"{subject}.{name}": value for name, value in about.items()}
    for figure in figures:
        new |= figure.values
    write_atomic(path, (json.dumps(dict(sorted((kept | new).items())), indent=1) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        old = None
    if not isinstance(old, dict) or not all("." in name for name in old):
        raise BenchError(f"{path} holds no figures of meld bench; name another file by --json")
    return old
