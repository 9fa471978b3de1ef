"""Held-out evaluation: the same tasks for every agent; at the end of a run its certificate, plots, video and report."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from meld_core.certificate import CONTROLS, first_learner_update, make_certificate, write_certificate
from meld_core.config import Config, load_config
from meld_core.evaluation_workers import EvaluationError, Job, collect_in_processes
from meld_core.metrics import read_rows
from meld_core.plots import plot_run
from meld_core.report import write_report
from meld_core.run_folder import RunFolder
from meld_core.schedule import held_out_plans
from meld_core.scoring import EpisodeScore, Evaluation, score_trial
from meld_core.tasks import make_tasks
from meld_core.types import Trial
from meld_core.video import write_video
from meld_core.weights import Weights, latest_weights

__all__ = ["Evaluation", "EvaluationError", "evaluate", "evaluate_run"]

OnTrial = Callable[[int, Trial], None]
"""Told of every finished trial: its index among the tasks, in order of finishing, and the trial."""
OnProgress = Callable[[str, int, int], None]
"""Told of progress: phase, current, total; made for status rows of metrics.jsonl."""

ROLLOUT = "meld_core.rollout:collect"


def evaluate(
    config: Config,
    weights: Weights | None,
    trials: int,
    task_seed: int,
    clear_belief: bool = False,
    processes: int = 2,
    on_trial: OnTrial | None = None,
    greedy: bool | None = None,
    collect: str = ROLLOUT,
) -> Evaluation:
    """Run an agent on held-out tasks and score it.

    Args:
        config: The run's config; `eval.split` names the tasks.
        weights: None for the untrained agent: the initial weights of `train.seed`.
        trials: Number of tasks; task i is number `task_seed + i` of its split.
        task_seed: First task.
        clear_belief: Control: forget the belief between episodes.
        processes: Worker processes with one torch thread each; the result does not depend on their number.
        on_trial: Told of every finished trial.
        greedy: Act with the mean action; None for `eval.greedy`.
        collect: Where trials come from, 'module:function'.

    Raises:
        EvaluationError: where a worker fails or dies.
        WeightsError: where the weights do not fit the config.
    """
    if weights is not None:
        weights.check_fits(config)
    greedy = config.eval.greedy if greedy is None else greedy
    plans = [dataclasses.replace(plan, greedy=greedy) for plan in held_out_plans(config, trials, task_seed)]
    scores: dict[int, tuple[EpisodeScore, ...]] = {}
    job = Job(config, None if weights is None else weights.to_bytes(), plans, clear_belief, collect)
    with contextlib.closing(collect_in_processes(job, processes)) as finished:
        for index, trial in finished:
            scores[index] = score_trial(trial)
            if on_trial is not None:
                on_trial(index, trial)
    return Evaluation(
        split=config.eval.split,
        split_hash=make_tasks(config.task).split_hash(),
        task_seed=task_seed,
        episodes=config.task.episodes,
        horizon=config.task.horizon,
        greedy=greedy,
        clear_belief=clear_belief,
        weights_version=-1 if weights is None else weights.version,
        weights_digest="" if weights is None else weights.digest,
        trained_through_trial=-1 if weights is None else weights.trained_through_trial,
        scores=tuple(scores[index] for index in range(trials)),
    )