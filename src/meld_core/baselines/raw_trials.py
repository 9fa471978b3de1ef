"""Raw trials of rivals: collected on the agent's own bench, kept as trial files, scored from these files alone.

Pictures are not kept: each is reduced to its mean colour, one pixel, so that a trial takes some 20 kB. Everything
that scoring needs is there, and `meld_core.storage.trial_file.decode_trial` reads them.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from meld_core.config import Config
from meld_core.driver import Acting, Driver
from meld_core.evaluate import OnProgress
from meld_core.evaluation.certificate import make_certificate
from meld_core.evaluation.scoring import Evaluation, first_success_statistics, score_trial
from meld_core.rollout import Bench, run_trial
from meld_core.schedule import TrialPlan
from meld_core.storage.files import make_folder, sync_folder, write_atomic
from meld_core.storage.memory_sink import MemorySink
from meld_core.storage.spool import SUFFIX
from meld_core.storage.trial_file import TrialError, decode_trial, encode_trial
from meld_core.task_families import make_tasks
from meld_core.tasks import Task
from meld_core.types import Trial

_BOOT = "0" * 32
_PART = ".part"
"""Ending of the folder in which an evaluation that has not finished keeps its trials."""


class RivalError(ValueError):
    """A rival cannot be evaluated or scored as asked; the text is one clear sentence."""


class Rival(Acting, Protocol):
    """Acts in place of our agent, behind the same driver and gate."""

    def set_task(self, task: Task) -> None:
        """What the bench is set up for; before each trial. A rival that may know nothing of it takes nothing."""


def run_rival(
    config: Config, rival: Rival, plans: Iterable[TrialPlan], name: str, clear_belief: bool = False
) -> Iterator[Trial]:
    """Run trials and yield them, with `name` in place of the run in their ids.

    Args:
        config: Of the bench.
        rival: Who acts.
        plans: What to run.
        name: Of the rival.
        clear_belief: Control: what the rival remembers is forgotten between episodes.
    """
    driver = Driver(config, rival, MemorySink(), run=name, boot=_BOOT)
    driver.clear_belief = clear_belief
    with Bench(config) as bench:
        for plan in plans:
            rival.set_task(plan.task)
            run_trial(bench, driver, plan)
            assert driver.last_trial is not None
            yield driver.last_trial


def keep(trials: Iterable[Trial], folder: Path, total: int, on_progress: OnProgress | None = None) -> None:
    """Write trials into a new folder, which appears once it is complete.

    Args:
        trials: In any order.
        folder: Must not exist yet; what an unfinished attempt left beside it is removed.
        total: Number of trials, for the progress.
        on_progress: Told after every trial.

    Raises:
        RivalError: where the folder exists.
        StorageError: where the disk refuses.
    """
    if folder.exists():
        raise RivalError(f"there is an evaluation in {folder} already; score it again (rescore) or remove it")
    part = folder.with_name(folder.name + _PART)
    shutil.rmtree(part, ignore_errors=True)
    make_folder(part)
    for number, trial in enumerate(trials, start=1):
        write_atomic(part / f"{trial.meta.id}{SUFFIX}", encode_trial(without_pictures(trial)))
        if on_progress is not None:
            on_progress("evaluation", number, total)
    part.rename(folder)
    sync_folder(folder.parent)


def without_pictures(trial: Trial) -> Trial:
    """The same trial with every picture reduced to its mean colour: (N, 1, 1, 3)."""
    mean = trial.rows["image"].mean(axis=(1, 2), keepdims=True)
    return dataclasses.replace(trial, rows={**trial.rows, "image": np.rint(mean).astype(np.uint8)})


def read_trials(folder: Path) -> list[Trial]:
    """Raw trials by task, from the first to the last without a gap.

    Raises:
        RivalError: where there are none, one is missing, one is not sound, or they do not belong together.
    """
    trials = sorted(map(_read, folder.glob(f"*{SUFFIX}")), key=lambda trial: trial.meta.id.counter)
    if not trials:
        raise RivalError(f"there are no raw trials in {folder}; evaluate the rival first")
    first = trials[0].meta
    for number, trial in enumerate(trials):
        id_, task = trial.meta.id, trial.meta.task
        expected = (first.id.run, number, first.task["split"], first.task["seed"] + number)
        if (id_.run, id_.counter, task["split"], task["seed"]) != expected:
            raise RivalError(f"{folder} holds trial {id_} of task {task['id']} where number {number} was expected")
    return trials


def _read(path: Path) -> Trial:
    try:
        return decode_trial(path.read_bytes())
    except TrialError as error:
        raise RivalError(f"{path}: {error}") from None


def rescore(config: Config, folder: Path, *, greedy: bool | None = None, command: str = "") -> dict[str, Any]:
    """Score the raw trials in a folder, and nothing else.

    Args:
        config: That they were collected with.
        folder: Of the trials.
        greedy: Whether the rival acted with its mean action; None for `eval.greedy`.
        command: How the evaluation was started.

    Returns:
        A certificate (`certificate.make_certificate`), and beside its fields `agent`, who acted, and `first_success`
        (`scoring.first_success_statistics`). `weights.version` is -1: there are none of ours.

    Raises:
        RivalError: as `read_trials`.
    """
    trials = read_trials(folder)
    scores = tuple(score_trial(trial) for trial in trials)
    task = trials[0].meta.task
    evaluation = Evaluation(
        split=task["split"],
        split_hash=make_tasks(config.task).split_hash(),
        task_seed=task["seed"],
        episodes=config.task.episodes,
        horizon=config.task.horizon,
        greedy=config.eval.greedy if greedy is None else greedy,
        clear_belief=False,
        weights_version=-1,
        weights_digest="",
        trained_through_trial=-1,
        scores=scores,
    )
    return {
        **make_certificate(evaluation, config, command=command),
        "agent": trials[0].meta.id.run,
        "first_success": first_success_statistics(scores, config.robot.control_period),
    }
