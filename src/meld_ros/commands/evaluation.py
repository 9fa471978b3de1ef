"""`meld eval`: held-out trials with given weights, their certificate, and a film of some."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from meld_core.config import Config
from meld_core.evaluate import FilmedTrials
from meld_core.evaluate import evaluate as evaluate_weights
from meld_core.evaluation.certificate import first_learner_update, make_certificate, write_certificate
from meld_core.evaluation.readaptation import readaptation_lines
from meld_core.evaluation.recorded import certify_recorded
from meld_core.metrics import read_rows
from meld_core.reporting.video import write_video
from meld_core.storage.run_folder import RunFolder
from meld_core.types import Trial
from meld_core.weights import Weights

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Eval


def run_evaluation(config: Config, weights: Weights, folder: RunFolder | None, command: Eval, line: str) -> int:
    """Evaluate, show the result, write what was asked for.

    Args:
        config: What to evaluate on; its networks are those of the weights.
        weights: Whom to evaluate.
        folder: The run that they come from, where known.
        command: The person's options.
        line: The command line, for the certificate.

    Returns:
        Exit code.
    """
    trials = config.eval.trials if command.trials is None else command.trials
    seed = config.eval.task_seed if command.task_seed is None else command.task_seed
    clear = command.clear_belief or config.eval.clear_belief
    filmed = FilmedTrials(max(1, config.eval.video_trials) if command.video else 0)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("held-out trials", total=trials)

        def count(index: int, trial: Trial) -> None:
            filmed(index, trial)
            bar.advance(task)

        evaluation = evaluate_weights(
            config,
            weights,
            trials,
            seed,
            clear_belief=clear,
            processes=min(config.eval.processes, trials),
            on_trial=count,
        )
    rows = (read_rows(folder.path, "trial"), read_rows(folder.path, "learner")) if folder else ((), ())
    certificate = make_certificate(
        evaluation, config, command=line, first_learner_update_step=first_learner_update(*rows)
    )
    Console().print(result_table(certificate))
    if "readaptation" in certificate:
        Console().print(readaptation_table(certificate))
    if command.json:
        write_certificate(certificate, Path(command.json))
        print(f"certificate  {command.json}")
    if command.video:
        print(f"video        {write_video(filmed.in_order(), Path(command.video).with_suffix(''), config)}")
    return 0


def show_recorded(folder: RunFolder, config: Config, line: str) -> int:
    """Score held-out trials that ran through the graph; show the result and where its certificate lies."""
    certificate = certify_recorded(folder, config, line)
    Console().print(result_table(certificate))
    if "readaptation" in certificate:
        Console().print(readaptation_table(certificate))
    judge = "the simulator's truth" if certificate["scored_by"] == "truth" else "the reward detector"
    print(f"judged by    {judge}")
    print(f"certificate  {folder.evaluation_certificate}")
    return 0


def result_table(certificate: Mapping[str, Any]) -> Table:
    """A certificate's rates per episode, with their 95 % Wilson intervals."""
    title = f"{certificate['trials']} trials, split {certificate['split']}, belief {certificate['belief']}"
    table = Table("episode", "success", "first attempt", "median steps to success", title=title)
    for name, numbers in certificate["episodes"].items():
        steps = numbers["median_steps_to_success"]
        low, high = numbers["wilson95"]
        table.add_row(
            str(name),
            f"{numbers['rate']:.3f} [dim]({low:.3f} to {high:.3f})[/dim]",
            f"{numbers['first_attempt_rate']:.3f}" if numbers["first_attempt_rate"] is not None else "-",
            "-" if steps is None else f"{steps:g}",
        )
    return table


def readaptation_table(certificate: Mapping[str, Any]) -> Table:
    """How a certificate's agent went on after the live port had moved, and where it had stayed."""
    found = certificate["readaptation"]
    table = Table("after a change of the live port", "rate", "of", title=f"{found['changes']} changes")
    for line in readaptation_lines(found):
        table.add_row(*line)
    return table
