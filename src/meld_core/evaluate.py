"""Held-out evaluation: the same tasks for every agent; at the end of a run its certificate, plots, video and report."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meld_core.config import Config
from meld_core.evaluation.certificate import first_learner_update, make_certificate, write_certificate
from meld_core.evaluation.scoring import EpisodeScore, Evaluation, score_trial
from meld_core.evaluation.workers import EvaluationError, Job, collect_in_processes
from meld_core.metrics import read_rows
from meld_core.reporting.belief_study import BeliefStudy
from meld_core.reporting.plots import LEARNING_CURVE, plot_run
from meld_core.reporting.report import Shown, write_report
from meld_core.reporting.video import write_video
from meld_core.schedule import held_out_plans
from meld_core.storage.run_folder import RunFolder
from meld_core.task_families import make_tasks
from meld_core.types import Trial
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
    *,
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


def evaluate_run(
    folder: RunFolder,
    command: str,
    process_ids: Mapping[str, int] | None = None,
    on_progress: OnProgress | None = None,
    collect: str = ROLLOUT,
) -> Path:
    """Evaluate the final weights of a run on held-out tasks, beside its controls, and write all that is shown of it.

    Writes `certificate.json`, `learning_curve.png`, `videos/held_out.*` and `report.html`.

    Args:
        folder: The run.
        command: How this was started, for the certificate.
        process_ids: Name → process id of everything that took part.
        on_progress: Told after every finished trial.
        collect: Where trials come from, 'module:function'.

    Returns:
        Path of the certificate.

    Raises:
        RunError: where there is no such run.
        EvaluationError: where it has no weights yet, or a worker fails.
    """
    config = folder.open().read_config()
    weights = final_weights(folder)
    filmed = FilmedTrials(config.eval.video_trials)
    beliefs = BeliefStudy(config, weights) if config.eval.beliefs else None
    evaluations = _evaluate_all(config, weights, Watchers(filmed, beliefs), on_progress, collect)
    trials = read_rows(folder.path, "trial")
    certificate = make_certificate(
        evaluations.pop("trained"),
        config,
        command=command,
        process_ids=process_ids,
        controls=evaluations,
        first_learner_update_step=first_learner_update(trials, read_rows(folder.path, "learner")),
    )
    write_certificate(certificate, folder.certificate)
    _show(folder, certificate, filmed.in_order(), beliefs)
    return folder.certificate


def _show(folder: RunFolder, certificate: Mapping[str, Any], filmed: list[Trial], beliefs: BeliefStudy | None) -> None:
    """Write curve, belief pictures, video and report."""
    config = folder.read_config()
    pictures = {"curve": plot_run(read_rows(folder.path, "trial"), certificate, folder.path / LEARNING_CURVE)}
    expected: list[np.ndarray | None] = []
    probes = beliefs.probes() if beliefs is not None else None
    if beliefs is not None:
        pictures |= beliefs.draw(probes, folder.path, filmed, folder.checkpoints)
        expected = [beliefs.reader.trace(trial).expected for trial in filmed]
    video = write_video(filmed, folder.videos / "held_out", config, expected) if filmed else None
    latency = next(reversed(read_rows(folder.path, "latency")), None)
    write_report(folder.report, folder.name, certificate, Shown(pictures, video, probes, latency))


def final_weights(folder: RunFolder) -> Weights:
    """The newest weights of a run. Raises EvaluationError where it has none."""
    weights = latest_weights(folder.weights) if folder.weights.is_dir() else None
    if weights is None:
        raise EvaluationError(f"run {folder.path} holds no weights yet; train it first (`meld train --resume`)")
    return weights


class FilmedTrials:
    """Keeps the first few tasks' trials for the video; an `OnTrial`."""

    def __init__(self, trials: int) -> None:
        self._wanted = trials
        self._trials: dict[int, Trial] = {}

    def __call__(self, index: int, trial: Trial) -> None:
        if index < self._wanted:
            self._trials[index] = trial

    def in_order(self) -> list[Trial]:
        """The kept trials, by task."""
        return [self._trials[index] for index in sorted(self._trials)]


@dataclasses.dataclass(frozen=True)
class Watchers:
    """Who looks at the trials of an evaluation besides its scores."""

    filmed: FilmedTrials
    beliefs: BeliefStudy | None

    def carried(self, index: int, trial: Trial) -> None:
        """A trial of the trained agent."""
        self.filmed(index, trial)
        if self.beliefs is not None:
            self.beliefs.carried(index, trial)

    def cleared(self, index: int, trial: Trial) -> None:
        """A trial of the trained agent whose belief is forgotten between episodes."""
        if self.beliefs is not None:
            self.beliefs.cleared(index, trial)


def _evaluate_all(
    config: Config, weights: Weights, watchers: Watchers, on_progress: OnProgress | None, collect: str
) -> dict[str, Evaluation]:
    """'trained' and, unless switched off, the controls: all on the same tasks."""
    settings = config.eval
    candidates: dict[str, Candidate] = {
        "trained": Candidate(weights, settings.clear_belief, settings.greedy, watchers.carried)
    }
    if settings.baselines and not settings.clear_belief:
        # a greedy untrained actor stands almost still, which would be too easy to beat: it acts with samples
        candidates["untrained"] = Candidate(None, clear_belief=False, greedy=False)
        candidates["belief_cleared"] = Candidate(weights, True, settings.greedy, watchers.cleared)
    finished, total = itertools.count(1), len(candidates) * settings.trials

    def run(candidate: Candidate) -> Evaluation:
        def count(index: int, trial: Trial) -> None:
            if candidate.on_trial is not None:
                candidate.on_trial(index, trial)
            if on_progress is not None:
                on_progress("evaluation", next(finished), total)

        return evaluate(
            config,
            candidate.weights,
            settings.trials,
            settings.task_seed,
            clear_belief=candidate.clear_belief,
            processes=settings.processes,
            on_trial=count,
            greedy=candidate.greedy,
            collect=collect,
        )

    return {name: run(candidate) for name, candidate in candidates.items()}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Who is evaluated, and how it acts."""

    weights: Weights | None
    clear_belief: bool
    greedy: bool
    on_trial: OnTrial | None = None
