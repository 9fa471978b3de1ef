"""Runs the cells of a study in worker processes of one thread each, every cell after those that it builds on."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from meld_core.stop_signals import set_on
from meld_core.storage.files import StorageError, write_atomic
from meld_core.study.cell import Cell, is_finished, prepare
from meld_core.study.effort import cpu_total, read_effort
from meld_core.study.table import StudyError

LOG_FILE = "worker.log"
FAILURE_FILE = "failed.txt"
_TICK = 0.3
"""Seconds between looks at the workers."""
_FINISHED, _FAILED, _STOPPED = 0, 1, 3
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
# large blocks stay with the process: training allocates and frees the same sizes over and over
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


def spent(out: Path) -> float:
    """CPU hours of a study's cells, unfinished ones included; not of earlier runs of them, which lie in `replaced`."""
    return sum(cpu_total(read_effort(folder)) for folder in out.glob("*") if folder.is_dir()) / 3600.0


class Runner:
    """Cells that wait, run, are finished or have failed.

    Args:
        cells: To run, in order of importance; finished ones are passed over.
        processes: Workers at a time.
        cpu_hours: No cell is started once the study has used this much.
        command: How the study was started.
        keep_replay: Leave replay and checkpoints in finished cells.

    Raises:
        StudyError: where a cell builds on one that is neither finished nor in `cells`.
    """

    def __init__(
        self, cells: Sequence[Cell], processes: int, cpu_hours: float, command: str, *, keep_replay: bool = False
    ) -> None:
        self._processes, self._cpu_hours, self._work = processes, cpu_hours, (command, keep_replay)
        self.finished = [cell for cell in cells if is_finished(cell)]
        self.waiting = [cell for cell in cells if cell not in self.finished]
        self.running: dict[SpawnProcess, Cell] = {}
        self.failed: dict[str, str] = {}
        """Label of a cell → one sentence."""
        self.over_budget = False
        self._asked: set[SpawnProcess] = set()
        self._names = {(cell.name, cell.seed): cell for cell in cells}
        for cell in self.waiting:
            _check_bases(cell, self._names)

    @property
    def complete(self) -> bool:
        """Whether every cell is finished."""
        return not self.waiting and not self.running and not self.failed

    def run(self, stop: threading.Event, on_tick: Callable[[], None] = lambda: None) -> None:
        """Run until everything is finished, nothing can go on, or `stop` is set and the workers have ended cleanly.

        An exception out of `on_tick` (Ctrl-C once more) ends the workers at once; the study resumes from their last
        checkpoints.
        """
        try:
            with _environment():
                while self._go_on(stop):
                    wait([process.sentinel for process in self.running], timeout=_TICK)
                    self._reap()
                    on_tick()
        finally:
            for process in self.running:
                process.kill()

    def _go_on(self, stop: threading.Event) -> bool:
        if stop.is_set():
            for process in self.running.keys() - self._asked:
                process.terminate()  # a worker takes it as a request
                self._asked.add(process)
            return bool(self.running)
        while len(self.running) < self._processes and (cell := self._next()) is not None:
            self._start(cell)
        return bool(self.running)

    def _next(self) -> Cell | None:
        """The first waiting cell whose bases are finished; those whose bases failed fail too."""
        if self.waiting and spent(self.waiting[0].out) >= self._cpu_hours:
            self.over_budget = True
            return None
        for cell in list(self.waiting):
            bases = [self._names[name, cell.seed] for name in cell.row.needs() if (name, cell.seed) in self._names]
            if failed := [base.label for base in bases if base.label in self.failed]:
                self.failed[cell.label] = f"builds on {failed[0]}, which failed"
                self.waiting.remove(cell)
            elif all(base in self.finished for base in bases):
                return cell
        return None

    def _start(self, cell: Cell) -> None:
        self.waiting.remove(cell)
        try:
            prepare(cell)  # here, not by the worker: else a display reads first what is about to be set aside
        except StorageError as error:
            self.failed[cell.label] = str(error)
            return
        context = multiprocessing.get_context("spawn")  # a fork would copy threads of torch
        process = context.Process(target=work, args=(cell, *self._work), name=cell.label, daemon=True)
        process.start()
        self.running[process] = cell

    def _reap(self) -> None:
        for process in [process for process in self.running if process.exitcode is not None]:
            cell = self.running.pop(process)
            if process.exitcode == _FINISHED:
                self.finished.append(cell)
            elif process.exitcode in (_STOPPED, -signal.SIGTERM):  # the latter before it could take requests
                self.waiting.insert(0, cell)
            else:
                self.failed[cell.label] = _why(cell, process.exitcode or 0)


def _check_bases(cell: Cell, names: dict[tuple[str, int], Cell]) -> None:
    from meld_core.study.cell import read_facts

    for name in cell.row.needs():
        if (name, cell.seed) not in names and read_facts(cell.of(name)) is None:
            raise StudyError(f"row '{cell.name}' builds on row '{name}', which is not finished: add it to --rows")


def _why(cell: Cell, code: int) -> str:
    log = cell.folder.path / LOG_FILE
    if code < 0:
        return f"killed by {signal.Signals(-code).name}; see {log}"
    try:
        return (cell.folder.path / FAILURE_FILE).read_text(encoding="utf-8")
    except OSError:
        return f"ended with exit code {code}; see {log}"


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What workers inherit: one thread for every library, set before any of them is loaded."""
    before = dict(os.environ)
    os.environ.update({**_THREADS, **_MEMORY})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def work(cell: Cell, command: str, keep_replay: bool) -> None:
    """A worker's life: one cell. The exit code says how it went."""
    stop = threading.Event()
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    set_on(stop, signal.SIGTERM)
    threading.Thread(target=_follow_parent, args=(parent, stop), daemon=True).start()
    folder = cell.folder.path
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    code = _FAILED
    try:
        code = _do(cell, stop, command, keep_replay=keep_replay)
    except Exception as error:  # whatever it is has to reach the person who waits
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG_FILE).open("a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        write_atomic(folder / FAILURE_FILE, f"{type(error).__name__}: {error}".encode())
    os._exit(code)  # GL libraries crash now and then while they are unloaded


def _follow_parent(parent: int, stop: threading.Event) -> None:
    """End cleanly where the parent was killed."""
    while os.getppid() == parent and not stop.wait(2.0):
        pass
    stop.set()


def _do(cell: Cell, stop: threading.Event, command: str, *, keep_replay: bool) -> int:
    from meld_core.study.work import run_cell

    logging.basicConfig(filename=cell.folder.path / LOG_FILE, format="%(asctime)s %(name)s %(message)s")
    return _FINISHED if run_cell(cell, stop, command, keep_replay=keep_replay) else _STOPPED
