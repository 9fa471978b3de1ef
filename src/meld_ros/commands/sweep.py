"""`meld sweep`: where given weights break, shown as a table and a picture."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from meld_core.config import Config
from meld_core.evaluation.sweep import SWEEP, SWEEP_FILE, run_sweep
from meld_core.reporting.sweep_plot import SWEEP_PICTURE, plot_sweep
from meld_core.storage.run_folder import RUNS, RunFolder
from meld_core.weights import Weights

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Sweep


def run_sweep_command(config: Config, weights: Weights, folder: RunFolder | None, command: Sweep) -> int:
    """Run the sweep beside the run that the weights come from, show it, write what was asked for.

    Args:
        config: The run's config.
        weights: Whom to evaluate.
        folder: The run, where known; else the sweep lies in runs/sweep-<digest of the weights>.
        command: The person's options.

    Returns:
        Exit code.
    """
    where = folder.path / "sweep" if folder else RUNS / f"sweep-{weights.digest[:12]}"
    trials = command.trials
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sweep", total=len(SWEEP) * trials)

        def count(name: str, done: int) -> None:
            bar.update(task, completed=done, description=name)

        sweep = run_sweep(config, weights, where, trials, on_trial=count)
    Console().print(sweep_table(sweep))
    for row in sweep["conditions"]:
        if not row["applies"]:
            print(f"{row['name']}: {row['why']}")
    print(f"sweep        {where / SWEEP_FILE}")
    print(f"picture      {plot_sweep(sweep, where / SWEEP_PICTURE)}")
    if command.json:
        Path(command.json).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(where / SWEEP_FILE, command.json)
        print(f"copy         {command.json}")
    return 0


def sweep_table(sweep: Mapping[str, Any]) -> Table:
    """One line per condition: rates per episode with Wilson intervals, differences to nominal in bold where clear."""
    kind = "simulated" if sweep["simulated"] else "real"
    title = f"{sweep['trials']} {kind} tasks of split {sweep['split']} per condition"
    episodes = list(sweep["conditions"][0]["episodes"])
    head = [f"{name}, episode {episode}" for episode in episodes for name in ("success", "first attempt")]
    table = Table("condition", *head, f"success minus nominal, episode {episodes[-1]}", title=title)
    for row in sweep["conditions"]:
        cells = list(_cells(row)) if row["applies"] else ["does not apply"]
        table.add_row(row["name"], *cells)
    return table


def _cells(row: Mapping[str, Any]) -> Iterator[str]:
    for numbers in row["episodes"].values():
        for name in ("", "first_attempt_"):
            rate, interval = numbers[f"{name}rate"], numbers[f"{name}wilson95"]
            yield "-" if rate is None else f"{rate:.2f} [dim]{interval[0]:.2f}..{interval[1]:.2f}[/dim]"
    last = list(row["difference"].values())[-1]["success"]
    low, high = last["interval95"]
    style = "bold" if high < 0 or low > 0 else "dim"
    yield f"[{style}]{last['difference']:+.2f}[/{style}] [dim]{low:+.2f}..{high:+.2f}[/dim]"
