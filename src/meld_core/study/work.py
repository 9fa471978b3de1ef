"""What one cell of a study does: train, evaluate, keep the raw trials, say what it cost. Resumes where it stopped."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meld_core.baselines.raw_trials import run_rival, without_pictures
from meld_core.evaluate import ROLLOUT
from meld_core.evaluation.certificate import git_state
from meld_core.evaluation.workers import Collect
from meld_core.metrics import MetricsWriter, read_rows
from meld_core.schedule import Schedule, TrialPlan
from meld_core.storage.files import write_atomic
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import SUFFIX
from meld_core.storage.trial_file import encode_trial
from meld_core.study.cell import Cell, code_digests, drop_bulk, plans_of, prepare, read_facts, write_facts
from meld_core.study.effort import Effort, cpu_total, read_effort
from meld_core.study.table import StudyError
from meld_core.train import train_in_process
from meld_core.types import Trial
from meld_core.weights import FINAL, Weights, WeightsError, load_weights

if TYPE_CHECKING:
    from meld_core.baselines.recurrent_ppo import Rl2Policy

TRAINING, EVALUATION = "training", "evaluation"
CURVE_FILE = "curve.json"
"""Learning curve of a rival that keeps no metrics of ours."""
SOURCES = {
    "ours": ROLLOUT,
    "untrained": ROLLOUT,
    "search": "meld_core.baselines.scripted:collect_search",
    "oracle": "meld_core.baselines.scripted:collect_oracle",
}
"""Agent → where its trials come from, 'module:function'."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """When a training ends for good, before its schedule does."""

    cpu: float
    """[s] of CPU time; 0 for none."""
    steps: float
    """Control steps, demonstrations included; 0 for none."""

    def reached(self, steps: int, cpu: float) -> str:
        """'steps' or 'CPU time', whichever ends it; empty while neither does."""
        if self.steps and steps >= self.steps:
            return "steps"
        return "CPU time" if self.cpu and cpu >= self.cpu else ""


def limit_of(cell: Cell) -> Limit:
    """The limits of a cell, from what the cells that it builds on have measured."""
    row = cell.row
    cpu = row.times * cpu_total(read_effort(cell.of(row.cpu_of).path), TRAINING) if row.cpu_of else 0.0
    cap = row.cpu_hours * 3600.0
    steps = row.times * training_steps(cell.of(row.steps_of)) if row.steps_of else 0.0
    return Limit(min(filter(None, (cpu, cap)), default=0.0), steps)


def training_steps(folder: RunFolder) -> int:
    """Control steps of a training, demonstrations included."""
    rows = read_rows(folder.path, "trial")
    return max((int(row["steps"]) for row in rows), default=0)


def run_cell(cell: Cell, stop: threading.Event, command: str, *, keep_replay: bool = False) -> bool:
    """Do what is left of a cell. What it is done with is what was there when this last part of the work began.

    Args:
        cell: To run.
        stop: Set from elsewhere: what is under way is ended at the next trial or round of updates.
        command: How the study was started.
        keep_replay: Leave replay and checkpoints.

    Returns:
        Whether the cell is finished; if not, call again to go on.
    """
    prepare(cell)
    began = _provenance(command)
    Effort(cell.folder.path, "start", since_start=True).mark()
    actor, ended_by = _trained(cell, stop)
    if cell.row.trained and not ended_by:
        return False
    if not actor.refusal and not _evaluate(cell, actor, stop):
        return False
    digest = "" if actor.weights is None else actor.weights.digest
    own = {"ended_by": ended_by, "weights_sha256": digest, "does_not_apply": actor.refusal}
    write_facts(cell, {**began, "finished": _now(), **own})
    if not keep_replay:
        drop_bulk(cell)
    return True


@dataclasses.dataclass(frozen=True)
class _Actor:
    """Who is evaluated."""

    weights: Weights | None = None
    refusal: str = ""
    """Why these weights cannot act under the settings of the evaluation."""
    policy: Rl2Policy | None = None


def _trained(cell: Cell, stop: threading.Event) -> tuple[_Actor, str]:
    """Who acts, and what ended its training ('' where there is none, or it was stopped for now)."""
    if cell.row.agent == "rl2":
        policy, ended_by = _train_rl2(cell, stop)
        return _Actor(policy=policy), ended_by
    ended_by = _train(cell, stop) if cell.row.trained else ""
    if cell.row.trained and not ended_by:
        return _Actor(), ""
    return _ours(cell), ended_by


def _train(cell: Cell, stop: threading.Event) -> str:
    """Train until the schedule or a limit ends it; what ended it, or '' where it was stopped for now."""
    config, limit = cell.settings.training, limit_of(cell)
    folder = cell.folder.create(config, resume=True)
    effort = Effort(folder.path, TRAINING)

    def watch(steps: int) -> bool:
        effort.mark(steps)
        return bool(limit.reached(steps, effort.cpu))

    if not train_in_process(config, folder, stop, watch):
        return ""
    trials = {row["trial"] for row in read_rows(folder.path, "trial")}
    if len(trials) >= Schedule(config).trials:
        return "schedule"
    return limit.reached(training_steps(folder), cpu_total(read_effort(folder.path), TRAINING)) or "limit"


def _train_rl2(cell: Cell, stop: threading.Event) -> tuple[Rl2Policy | None, str]:
    """Train the rival. It cannot be resumed: a stopped one starts again, and what it had evaluated goes."""
    from meld_core.baselines.rl2 import train_rl2

    for path in kept_trials(cell.evaluation).values():
        path.unlink()
    limit, effort = limit_of(cell), Effort(cell.folder.path, TRAINING)
    with MetricsWriter(cell.folder.path, tensorboard=False) as metrics:

        def report(phase: str, current: int, total: int) -> None:
            effort.mark(current)
            metrics.write("status", phase=phase, current=current, total=total)
            if stop.is_set():
                raise _StoppedError

        try:
            policy = train_rl2(cell.settings.training, round(limit.steps), cell.seed, report)
        except _StoppedError:
            return None, ""
    write_atomic(cell.folder.path / CURVE_FILE, json.dumps(policy.training).encode())
    return policy, "steps"


class _StoppedError(Exception):
    """Ends a training from within its report of progress."""


def _ours(cell: Cell) -> _Actor:
    if cell.row.agent != "ours":
        return _Actor()
    folder = cell.of(cell.row.weights_of) if cell.row.weights_of else cell.folder
    if cell.row.weights_of and read_facts(folder) is None:
        raise StudyError(f"row '{cell.row.weights_of}' is not finished with seed {cell.seed}; run it first")
    weights = load_weights(folder.weights / FINAL)
    try:
        weights.check_fits(cell.settings.evaluation)
    except WeightsError as error:
        return _Actor(weights, str(error))
    return _Actor(weights)


def kept_trials(folder: Path) -> dict[int, Path]:
    """Raw trials of a folder by the index of their task, which their names hold."""
    return {int(path.stem.rsplit("-", 2)[-2]): path for path in folder.glob(f"*{SUFFIX}")}


def _evaluate(cell: Cell, actor: _Actor, stop: threading.Event) -> bool:
    """Run the held-out tasks that are not on disk yet; False where it was stopped for now."""
    plans = plans_of(cell)
    kept = kept_trials(cell.evaluation)
    left = [plan for plan in plans if plan.index not in kept]
    effort, done = Effort(cell.folder.path, EVALUATION), len(plans) - len(left)
    with MetricsWriter(cell.folder.path, tensorboard=False) as metrics:
        for trial in _collect(cell, actor, left):
            path = cell.evaluation / f"{trial.meta.id}{SUFFIX}"
            write_atomic(path, encode_trial(without_pictures(trial)))
            done += 1
            effort.mark()
            metrics.write("status", phase=EVALUATION, current=done, total=len(plans))
            if stop.is_set() and actor.policy is None:  # the rival's policy is nowhere but in this process
                break
    return done == len(plans)


def _collect(cell: Cell, actor: _Actor, plans: list[TrialPlan]) -> Iterator[Trial]:
    config = cell.settings.evaluation
    if not plans:
        return
    if actor.policy is not None:
        yield from run_rival(config, actor.policy, plans, cell.row.agent)
        return
    module, _, function = SOURCES[cell.row.agent].partition(":")
    collect: Collect = getattr(importlib.import_module(module), function)
    yield from collect(config, actor.weights, plans, clear_belief=config.eval.clear_belief)


def _provenance(command: str) -> dict[str, Any]:
    commit, dirty = git_state(Path(__file__).parent.parent)
    return {"commit": commit, "dirty": dirty, "command": command, "code": code_digests()}


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
