"""`meld probe`: what the belief knows of the hidden task, and when, as a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from meld_core.config import Config
from meld_core.evaluation.probe_evaluation import run_probes
from meld_core.evaluation.probes import MOMENTS
from meld_core.reporting.belief_plots import READERS, plot_probes
from meld_core.reporting.belief_study import PROBES_FILE, write_probes
from meld_core.storage.run_folder import RUNS, RunFolder
from meld_core.weights import Weights

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Probe


def run_probe(config: Config, weights: Weights, folder: RunFolder | None, command: Probe) -> int:
    """Roll, probe, show; files go to the run's folder, or to runs/probe-<digest of the weights>.

    Args:
        config: The run's config.
        weights: Whose beliefs.
        folder: The run that they come from, where known.
        command: The person's options.

    Returns:
        Exit code.
    """
    where = folder.path / "probe" if folder else RUNS / f"probe-{weights.digest[:12]}"
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("trials, belief carried, then cleared", total=2 * command.trials)
        probes = run_probes(config, weights, command.trials, split=command.split, on_trial=lambda *_: bar.advance(task))
    Console().print(probe_table_of(probes))
    for path in dict.fromkeys([where / PROBES_FILE, *([Path(command.json)] if command.json else [])]):
        write_probes(probes, path)
        print(f"probes       {path}")
    print(f"picture      {plot_probes(probes, where / 'beliefs.png')}")
    return 0


def probe_table_of(probes: Mapping[str, Any]) -> Table:
    """One line per moment of the trial."""
    title = f"the belief names the live port: {probes['trials']} tasks, split {probes['split']}"
    readers = [name for name in READERS if name in probes["readers"]]
    head = [f"probe, {READERS[name]}" for name in readers]
    table = Table("moment", *head, "largest expected reward", "ideal observer", title=title)
    for moment in MOMENTS:
        if moment in probes["readers"]["carried"]:
            table.add_row(MOMENTS[moment], *_cells(probes, readers, moment))
    return table


def _cells(probes: Mapping[str, Any], readers: list[str], moment: str) -> Iterator[str]:
    for name in readers:
        row = probes["readers"][name].get(moment)
        yield "-" if row is None else _rate(row["probe"])
    carried = probes["readers"]["carried"][moment]
    yield "-" if carried["own"] is None else _rate(carried["own"])
    yield f"{carried['ideal']:.2f}"


def _rate(rate: Mapping[str, Any]) -> str:
    low, high = rate["wilson95"]
    return f"{rate['rate']:.2f} [dim]({low:.2f} to {high:.2f})[/dim]"
