"""`meld study`: trains and evaluates every row of a table, resumably, and writes the page of results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from meld_core.evaluation.sweep import SWEEP
from meld_core.metrics import Tail
from meld_core.reporting.progress import duration
from meld_core.reporting.run_state import RunState
from meld_core.storage.run_folder import RUNS
from meld_core.study.cell import Cell, change_of
from meld_core.study.evidence import pack, unpack
from meld_core.study.report import Report, write_results
from meld_core.study.runner import Runner
from meld_core.study.table import Row, Study, StudyError, read_study, settings_of
from meld_ros.commands.training import stop_requested
from meld_ros.share import config_file, config_names, share_dir

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Study as StudyArguments

EVIDENCE_FOLDER = "evidence"
"""Beside the page: archives of finished cells."""
_LINE_EVERY = 20.0
"""Seconds between plain lines."""


def run_study(command: StudyArguments, line: str) -> int:
    """Run what is left of a study, then write its page.

    Returns:
        Exit code: 1 where a cell failed.
    """
    study = open_study(command.name, smoke=command.smoke)
    out = Path(command.out) if command.out else RUNS / f"study-{study.name}"
    docs = Path(command.docs) if command.docs else (out / "docs" if command.smoke else Path("docs"))
    everything = cells_of(study, study.selected(()), out, smoke=command.smoke)
    for cell in unpack(everything, docs / EVIDENCE_FOLDER / study.name):
        _tell(f"{cell.label}: finished earlier, restored from its archive")
    wanted = study.selected(_split(command.rows), [int(seed) for seed in _split(command.seeds)])
    chosen = [cell for cell in everything if (cell.name, cell.seed) in wanted]
    if command.list_rows:
        Console().print(_listing(study, everything))
        return 0
    failed: dict[str, str] = {}
    if not command.report:
        failed = _run(chosen, command, line)
    pack(everything, docs / EVIDENCE_FOLDER / study.name)
    again = f"meld study {command.name}{' --smoke' * command.smoke} --report"  # from the evidence beside the page
    report = write_results(study, everything, docs, command=again, budget=command.cpu_hours)
    _show(report, command.cpu_hours)
    return 1 if failed else 0


def open_study(name: str, *, smoke: bool = False) -> Study:
    """A study of config/studies, with the conditions of the sweep as rows; its miniature with `smoke`.

    Raises:
        ConfigError: where there is no such study.
    """
    study = read_study(config_file(name, "studies"), sweep_rows())
    return study.miniature() if smoke else study


def sweep_rows() -> dict[str, Row]:
    """One row per condition of the sweep: the default's weights of one seed on another bench."""
    rows = {}
    for number, condition in enumerate(SWEEP):
        if condition.overrides:
            name = "".join(c if c.isalnum() else "_" for c in condition.name).strip("_")
            rows[f"sweep_{name}"] = Row(
                shows=f"{condition.name}: {', '.join(condition.overrides)}",
                group="sweep",
                seeds=(0,),
                weights_of="default",
                evaluate=condition.overrides,
                against="default",
                smoke=number == 1,
            )
    return rows


def cells_of(study: Study, pairs: Sequence[tuple[str, int]], out: Path, *, smoke: bool) -> list[Cell]:
    """Cells with their resolved settings; a row whose config file does not exist is left out, and said."""
    cells: list[Cell] = []
    for name, seed in pairs:
        row = study.rows[name]
        if row.config and row.config not in config_names():
            raise StudyError(f"row '{name}' needs config/{row.config}.yaml, which is not in {share_dir()}")
        settings = settings_of(study, name, seed, config_file, smoke=smoke)
        cells.append(Cell(name, seed, row, settings, out.resolve()))
    return cells


def _split(text: str) -> list[str]:
    return [part for part in text.replace(",", " ").split() if part]


def _run(cells: Sequence[Cell], command: StudyArguments, line: str) -> dict[str, str]:
    """Run cells to their end or until Ctrl-C; what failed, by label."""
    for cell in cells:
        if text := change_of(cell):
            _tell(f"{cell.label} is run again: {text}")
    runner = Runner(cells, command.processes, command.cpu_hours, line, keep_replay=command.keep_replay)
    _tell(f"{len(runner.finished)} of {len(cells)} cells are finished already")
    with stop_requested() as stop, _display(runner, len(cells)) as display:
        runner.run(stop, display.tick)
    for label, why in runner.failed.items():
        _tell(f"{label} failed: {why}")
    if runner.over_budget:
        _tell(f"{command.cpu_hours:g} CPU hours are used up: no further cell was started (--cpu-hours raises it)")
    elif not runner.complete:
        _tell("not finished; the same command goes on from here")
    return runner.failed


class _Display:
    """What runs, as a live table or as plain lines."""

    def __init__(self, runner: Runner, total: int, live: Live | None) -> None:
        self._runner, self._total, self._live = runner, total, live
        self._states: dict[str, tuple[Tail, RunState]] = {}
        self._shown, self._finished = 0.0, -1

    def tick(self) -> None:
        """Show the newest."""
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            return
        finished = len(self._runner.finished) + len(self._runner.failed)
        if time.monotonic() - self._shown > _LINE_EVERY or finished != self._finished:
            self._shown, self._finished = time.monotonic(), finished
            print(f"{finished}/{self._total} cells  " + "  ".join(self._texts()), flush=True)

    def _texts(self) -> Iterator[str]:
        for cell in self._runner.running.values():
            tail, state = self._states.setdefault(cell.label, _watch(cell))
            state.update(tail.read())
            now = state.snapshot()
            done = f"{now.phase} {now.phase_current}/{now.phase_total}" if now.phase_total else now.phase
            yield f"{cell.label}: {done}, {now.steps} steps, left {duration(now.seconds_left)}"

    def _table(self) -> Table:
        runner = self._runner
        grid = Table.grid(padding=(0, 2))
        counts = f"{len(runner.finished)} finished, {len(runner.waiting)} waiting, {len(runner.failed)} failed"
        grid.add_row("cells", f"{counts}, of {self._total}")
        for text in self._texts():
            label, _, rest = text.partition(": ")
            grid.add_row(label, rest)
        return grid


def _watch(cell: Cell) -> tuple[Tail, RunState]:
    return Tail(cell.folder.metrics), RunState(cell.settings.training, since=time.time())


@contextmanager
def _display(runner: Runner, total: int) -> Iterator[_Display]:
    console = Console()
    if not console.is_terminal:
        yield _Display(runner, total, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Display(runner, total, live)


def _listing(study: Study, cells: Sequence[Cell]) -> Table:
    table = Table("row", "group", "seeds", "finished", "what it shows", title=f"study {study.name}")
    for name, row in study.rows.items():
        own = [cell for cell in cells if cell.name == name]
        finished = [str(cell.seed) for cell in own if cell.facts() is not None and not change_of(cell)]
        table.add_row(name, row.group, ", ".join(map(str, row.seeds)), ", ".join(finished) or "-", row.shows)
    return table


def _show(report: Report, budget: float) -> None:
    table = Table(
        "row", "seeds", "success 1", "success 2", "first attempt 2", title="held-out tasks, pooled over seeds"
    )
    for row in report.rows:
        if row.cells and not row.refusal:
            one, two = row.pooled(0), row.pooled(1)
            first = "-" if two["first_attempt_rate"] is None else f"{two['first_attempt_rate']:.3f}"
            table.add_row(row.name, str(len(row.cells)), f"{one['rate']:.3f}", f"{two['rate']:.3f}", first)
    Console().print(table)
    print(f"CPU time     {report.cpu_hours:.2f} h of {budget:g} h")
    print(f"results      {report.page}")


def _tell(sentence: str) -> None:
    print(f"meld: {sentence}", file=sys.stderr, flush=True)
