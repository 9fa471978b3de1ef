"""`meld demo`: trained weights of the package adapt to unseen tasks in simulation, live, with a video and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from meld_core.config import Config, ConfigError, from_mapping
from meld_core.demo import demo_weights
from meld_core.evaluate import FilmedTrials, evaluate
from meld_core.evaluation.beliefs import BeliefReader
from meld_core.evaluation.scoring import EpisodeScore, Evaluation, score_trial
from meld_core.reporting.film_sheet import write_sheet
from meld_core.reporting.video import write_video
from meld_core.types import Trial

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Demo

FILMED = 4
"""Tasks in the video."""


def run_demo(command: Demo, line: str) -> int:
    """Show held-out trials as they end, then say where their video and picture are.

    Args:
        command: The person's options.

    Returns:
        Exit code.

    Raises:
        ConfigError: where no task is asked for.
    """
    if command.tasks < 1:
        raise ConfigError(f"--tasks is {command.tasks}; a demo needs at least one")
    weights = demo_weights()
    config = from_mapping(Config, weights.config)
    seed = config.eval.task_seed if command.task_seed is None else command.task_seed
    console, filmed, rows = Console(), FilmedTrials(FILMED), DemoTable(config)
    console.print(_introduction(config))
    with Live(rows.table, console=console, auto_refresh=False) as live:

        def show(index: int, trial: Trial) -> None:
            filmed(index, trial)
            rows.add(index, trial)
            live.update(rows.table, refresh=True)

        processes = min(config.eval.processes, command.tasks)
        evaluation = evaluate(config, weights, command.tasks, seed, processes=processes, on_trial=show)
    console.print()
    console.print(_summary(evaluation, config))
    reader = BeliefReader(config, weights)
    for name, path in _pictures(filmed.in_order(), reader, Path(command.folder), config):
        print(f"{name:<12} {path}")
    return 0


def _introduction(config: Config) -> str:
    return (
        f"[bold]Simulation.[/bold] {config.task.ports} ports look alike, one is live; which one changes with every "
        "task and cannot be seen. Episode 1 has to try; episode 2 should know. No gradient step is made."
    )


class DemoTable:
    """One line per finished task, in order of the tasks, whichever finishes first."""

    def __init__(self, config: Config) -> None:
        episodes = [f"episode {number + 1}" for number in range(config.task.episodes)]
        self._columns = ("task", "live port", *episodes, "last: first try right")
        self._lines: dict[int, list[str]] = {}

    def add(self, index: int, trial: Trial) -> None:
        """Add a finished trial."""
        live, scores = int(trial.meta.task["live"]), score_trial(trial)
        last = "[green]yes[/green]" if scores[-1].first_attempt else "[red]no[/red]"
        self._lines[index] = [str(index + 1), str(live + 1), *[told(score, live) for score in scores], last]

    @property
    def table(self) -> Table:
        """What is known so far."""
        table = Table(*self._columns, title="unseen tasks (simulation)")
        for _, line in sorted(self._lines.items()):
            table.add_row(*line)
        return table


def told(score: EpisodeScore, live: int) -> str:
    """'2 ✗  3 ✓  14 steps': the ports that were tried, in order, and how long it took."""
    ports = [
        f"{port + 1} [green]✓[/green]" if port == live and score.success else f"{port + 1} ✗" for port in score.ports
    ]
    end = f"{score.steps} steps" if score.success else f"[red]not in {score.steps} steps[/red]"
    return "  ".join([*(ports or ["none"]), f"[dim]{end}[/dim]"])


def _summary(evaluation: Evaluation, config: Config) -> str:
    lines = []
    for episode, numbers in evaluation.statistics().items():
        (low, high), rate = numbers["first_attempt_wilson95"], numbers["first_attempt_rate"]
        lines.append(
            f"episode {episode}: success {numbers['successes']} of {numbers['trials']}, first port right {rate:.2f} "
            f"({low:.2f} to {high:.2f}; chance {1 / config.task.ports:.2f})"
        )
    return "\n".join(lines)


def _pictures(
    trials: Sequence[Trial], reader: BeliefReader, folder: Path, config: Config
) -> Iterator[tuple[str, Path]]:
    expected: list[np.ndarray | None] = [reader.trace(trial).expected for trial in trials]
    yield "video", write_video(trials, folder / "demo", config, expected)
    shown = instructive(trials)
    yield "picture", write_sheet(trials[shown], folder / "demo.png", config, expected[shown])


def instructive(trials: Sequence[Trial]) -> int:
    """Index of the first trial whose episode 1 found the live port, but not at once; 0 where there is none.

    What episode 2 made of it does not matter: the picture is no better than the agent.
    """
    first = [score_trial(trial)[0] for trial in trials]
    return next((index for index, score in enumerate(first) if score.success and not score.first_attempt), 0)
