"""Live progress of a run in the terminal, read from its metrics file: a table, or plain lines without a terminal."""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.live import Live
from rich.table import Table

from meld_core.config import Config
from meld_core.metrics import Tail
from meld_core.reporting.run_state import WINDOW, RunState, Snapshot
from meld_core.storage.run_folder import RunFolder

REFRESH = 0.5
"""Seconds between looks at the metrics file on a terminal."""
LINE_EVERY = 10.0
"""Seconds between plain lines."""

_SHOWN_LOSSES = 6


class Progress:
    """Shows how a run goes on; only reads.

    Args:
        folder: The run.
        config: Of the run.
        console: Where to show it; rich's default writes to standard output.
    """

    def __init__(self, folder: RunFolder, config: Config, console: Console | None = None) -> None:
        self._tail = Tail(folder.metrics)
        self._state = RunState(config, since=time.time())
        self._console = console or Console()

    def run(self, stop: threading.Event) -> None:
        """Show progress until `stop` is set, then once more."""
        if self._console.is_terminal:
            self._run_live(stop)
        else:
            self._run_lines(stop)

    def snapshot(self) -> Snapshot:
        """Read what is new; where the run stands."""
        self._state.update(self._tail.read())
        return self._state.snapshot()

    def _run_live(self, stop: threading.Event) -> None:
        with Live(table(self.snapshot()), console=self._console, auto_refresh=False) as live:
            while not stop.wait(REFRESH):
                live.update(table(self.snapshot()), refresh=True)
            live.update(table(self.snapshot()), refresh=True)

    def _run_lines(self, stop: threading.Event) -> None:
        shown = ""
        while True:
            stopped = stop.wait(LINE_EVERY)
            if (text := line(self.snapshot())) != shown:
                self._console.print(text, soft_wrap=True, highlight=False, markup=False)
                shown = text
            if stopped:
                return


def line(now: Snapshot) -> str:
    """One plain line."""
    parts = [
        _phase(now),
        f"trial {now.trials}/{now.trials_planned}",
        f"{now.steps} steps ({_number(now.steps_per_second, '.0f')}/s)",
        *(_episode_text(now, episode) for episode in range(len(now.success))),
        *(f"{name} {value:.3g}" for name, value in list(now.losses.items())[:2]),
        f"weights {_version(now)}",
        f"left {duration(now.seconds_left)}",
        *([f"{now.aborted} aborted"] if now.aborted else []),
        *([now.note] if now.note else []),
    ]
    return "  ".join(parts)


def table(now: Snapshot) -> Table:
    """The live table."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    grid.add_row("phase", f"[bold]{_phase(now)}[/bold]")
    grid.add_row("trials", f"{now.trials} of {now.trials_planned} {_bar(now.trials, now.trials_planned)}")
    grid.add_row("steps", f"{now.steps} ({_number(now.steps_per_second, '.0f')} per second)")
    for episode in range(len(now.success)):
        success, first = now.success[episode], now.first_attempt[episode]
        text = f"success {_number(success, '.2f')}   first attempt {_number(first, '.2f')}"
        grid.add_row(f"episode {episode + 1}", f"{text}   [dim]last {now.window} of {WINDOW} policy trials[/dim]")
    for start in range(0, min(len(now.losses), _SHOWN_LOSSES), 3):
        shown = list(now.losses.items())[start : start + 3]
        grid.add_row("losses" if start == 0 else "", "   ".join(f"{name} {value:.4g}" for name, value in shown))
    grid.add_row("replay ratio", f"{_number(now.replay_ratio, '.3g')} model updates per 100 steps")
    grid.add_row("weights", _version(now))
    grid.add_row("time left", duration(now.seconds_left))
    if now.aborted:
        grid.add_row("aborted", f"{now.aborted} trials, begun again")
    if now.note:
        grid.add_row("[bold]note[/bold]", now.note)
    return grid


def _phase(now: Snapshot) -> str:
    return f"{now.phase} {now.phase_current}/{now.phase_total}" if now.phase_total else now.phase


def _episode_text(now: Snapshot, episode: int) -> str:
    success, first = _number(now.success[episode], ".2f"), _number(now.first_attempt[episode], ".2f")
    return f"ep{episode + 1} success {success} first {first}"


def _version(now: Snapshot) -> str:
    if now.weights_version is None or now.weights_version < 0:
        return "none"
    age = "" if now.weights_age is None else f" ({now.weights_age} trials behind)"
    return f"v{now.weights_version}{age}"


def _bar(current: int, total: int, width: int = 24) -> str:
    filled = min(width, width * current // total) if total else 0
    return "━" * filled + f"[dim]{'─' * (width - filled)}[/dim]"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def duration(seconds: float | None) -> str:
    """'1 h 02 min', '3 min 20 s', '7 s'; '-' where it is not known."""
    if seconds is None:
        return "-"
    minutes, left = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{left} s"
