"""What a study came to, scored from the raw evaluation trials on disk and from nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meld_core.evaluation.every_port import same_actions
from meld_core.evaluation.intervals import effective_size, independent_difference, paired_difference
from meld_core.evaluation.readaptation import readaptation
from meld_core.evaluation.scoring import (
    EpisodeScore,
    episode_scores,
    episode_statistics,
    first_success_statistics,
    score_trial,
)
from meld_core.metrics import read_rows
from meld_core.schedule import TrialPlan
from meld_core.storage.trial_file import TrialError, decode_trial
from meld_core.study.cell import Cell, change_of, plans_of
from meld_core.study.effort import cpu_total, read_effort, wall_total
from meld_core.study.table import Row, Study, StudyError
from meld_core.study.work import TRAINING, kept_trials
from meld_core.types import Trial

MEASURES = ("success", "first_attempt")
Scores = tuple[tuple[EpisodeScore, ...], ...]
"""[task][episode]."""


@dataclasses.dataclass(frozen=True)
class CellResult:
    """A finished cell."""

    cell: Cell
    facts: Mapping[str, Any]
    """`cell.json`."""
    scores: Scores
    tasks: tuple[str, ...]
    """Each task, written out: cells of the same tasks are compared task by task."""
    steps: int
    """Control steps of the training, demonstrations included."""
    trials: int
    """Trials of the training, demonstrations included."""
    demonstrations: int
    cpu: float
    """Of the training [s]."""
    wall: float
    """Of the training, while it ran [s]."""
    cpu_all: float
    """Of everything [s]."""
    same_actions: tuple[bool, ...] = ()
    """Of a row with `every_port`, by task: whether its actions were the same whichever port was live."""


@dataclasses.dataclass(frozen=True)
class RowResult:
    """A row with those of its seeds that are finished."""

    name: str
    row: Row
    cells: tuple[CellResult, ...]
    missing: Mapping[int, str]
    """Seed → why there is no result."""

    @property
    def refusal(self) -> str:
        """Why the weights cannot act under these settings; empty where they can."""
        return next((str(cell.facts["does_not_apply"]) for cell in self.cells if cell.facts["does_not_apply"]), "")

    @property
    def episodes(self) -> int:
        """Episodes per trial."""
        return self.cells[0].cell.settings.evaluation.task.episodes if self.cells else 0

    @property
    def scores(self) -> Scores:
        """Of all seeds, one after the other."""
        return tuple(trial for cell in self.cells for trial in cell.scores)

    @property
    def tasks(self) -> list[str]:
        """Which task each of `scores` was on."""
        return tasks_of(self.cells)

    def pooled(self, episode: int) -> dict[str, Any]:
        """Statistics of an episode, counted from 0, over all seeds: see `scoring.episode_statistics`."""
        return episode_of(self.cells, episode)


def elsewhere(row: RowResult, base: RowResult) -> bool:
    """Whether a row was trained on other machines than the one it is compared with, so maybe in another precision."""
    machines = [{str(cell.facts["machine"]) for cell in one.cells} for one in (row, base)]
    return row.row.trained and base.row.trained and bool(row.cells and base.cells) and machines[0] != machines[1]


def widest(rows: Sequence[RowResult]) -> tuple[str, float]:
    """The row whose seeds lie furthest apart in success in episode 2, and how far; ('', 0) where no row has two."""
    spreads = [("", 0.0)]
    for row in rows:
        if row.row.trained and len(row.cells) > 1 and not row.refusal:
            rates = [float(episode_of([cell], 1)["rate"]) for cell in row.cells]
            spreads.append((row.name, max(rates) - min(rates)))
    return max(spreads, key=lambda spread: spread[1])


def episode_of(cells: Sequence[CellResult], episode: int) -> dict[str, Any]:
    """Statistics of an episode, counted from 0, over some cells."""
    scores = episode_scores([trial for cell in cells for trial in cell.scores], episode)
    return episode_statistics(scores, cells[0].cell.settings.evaluation.task.horizon, tasks_of(cells))


def tasks_of(cells: Sequence[CellResult]) -> list[str]:
    """Which task each trial was on, in the order of the cells' scores: seeds share their tasks."""
    return [task for cell in cells for task in cell.tasks]


def read_row(study: Study, name: str, cells: Sequence[Cell]) -> RowResult:
    """Score a row.

    Raises:
        StudyError: where raw trials are damaged, missing or not those of the cell.
    """
    found: list[CellResult] = []
    missing: dict[int, str] = {}
    for cell in cells:
        facts = cell.facts()
        if facts is None:
            missing[cell.seed] = "interrupted" if cell.folder.path.is_dir() else "not run"
        elif text := change_of(cell):
            missing[cell.seed] = f"not run since it changed ({text})"
        else:
            found.append(_read_cell(cell, facts))
    return RowResult(name, study.rows[name], tuple(found), missing)


def _read_cell(cell: Cell, facts: Mapping[str, Any]) -> CellResult:
    trials = [] if facts["does_not_apply"] else raw_trials(cell, str(facts["weights_sha256"]))
    rows, effort = read_rows(cell.folder.path, "trial"), read_effort(cell.folder.path)
    marks = [int(row["steps"]) for row in effort if row["phase"] == TRAINING]
    return CellResult(
        cell=cell,
        facts=facts,
        scores=tuple(score_trial(trial) for trial in trials),
        tasks=tuple(json.dumps(trial.meta.task, sort_keys=True) for trial in trials),
        steps=max([int(row["steps"]) for row in rows] or marks or [0]),
        trials=len(rows),
        demonstrations=sum(row.get("source") == "script" for row in rows),
        cpu=cpu_total(effort, TRAINING),
        wall=wall_total(effort, TRAINING),
        cpu_all=cpu_total(effort),
        same_actions=tuple(same_actions(trials)) if cell.row.every_port else (),
    )


def raw_trials(cell: Cell, weights: str) -> list[Trial]:
    """The raw evaluation trials of a cell, by task; every one checked to be what it should be.

    Raises:
        StudyError: where one is missing, damaged, of another task, or was acted by other weights.
    """
    kept, plans = kept_trials(cell.evaluation), plans_of(cell)
    if sorted(kept) != [plan.index for plan in plans]:
        odd = sorted({plan.index for plan in plans} ^ set(kept))
        raise StudyError(f"{cell.evaluation} lacks, or should not hold, the trials {odd[:5]}; run the cell again")
    return [_raw_trial(cell, kept[plan.index], plan, weights) for plan in plans]


def _raw_trial(cell: Cell, path: Path, plan: TrialPlan, weights: str) -> Trial:
    try:
        trial = decode_trial(path.read_bytes())
    except TrialError as error:
        raise StudyError(f"{path}: {error}; remove the file and run the study again") from None
    meta = trial.meta
    found = (meta.id.counter, *(meta.task[name] for name in ("split", "seed", "live")), meta.weights_digest)
    if found != (plan.index, plan.task.split, plan.task.seed, plan.task.live, weights):
        raise StudyError(f"{path} is not trial {plan.index} of {cell.label}: another task or other weights")
    return trial


def difference(
    ours: RowResult, base: RowResult, measure: str, episode: int
) -> tuple[float, tuple[float, float]] | None:
    """Rate of a row minus that of another, over the seeds that both have, with its 95 % interval.

    Paired by seed and task where the tasks are the same, else as of independent tasks; tasks that seeds share count by
    their effective number. None where a row has no result.
    """
    both = [(a, b) for a in ours.cells for b in base.cells if a.cell.seed == b.cell.seed]
    if not both or ours.refusal or base.refusal or episode >= min(ours.episodes, base.episodes):
        return None
    mine, theirs = (_outcomes([pair[side] for pair in both], measure, episode) for side in (0, 1))
    if all(a.tasks == b.tasks for a, b in both):
        paired = paired_difference(mine, theirs, tasks=tasks_of([a for a, _ in both]))
        return paired.difference, paired.interval95
    sides = ((mine, [a for a, _ in both]), (theirs, [b for _, b in both]))
    sizes = [effective_size([float(hit) for hit in hits], tasks_of(cells)) for hits, cells in sides]
    rates = [sum(hits) / len(hits) for hits, _ in sides]
    return independent_difference((rates[0] * sizes[0], sizes[0]), (rates[1] * sizes[1], sizes[1]))


def _outcomes(cells: Sequence[CellResult], measure: str, episode: int) -> list[bool]:
    scores = [trial for cell in cells for trial in cell.scores]
    return [bool(getattr(score, measure)) for score in episode_scores(scores, episode)]


def flat_results(rows: Sequence[RowResult]) -> dict[str, Any]:
    """Every figure under one flat name: ROW.all or ROW.seedN, then episode and measure."""
    flat: dict[str, Any] = {}
    for row in rows:
        if not row.cells or row.refusal:
            flat[f"{row.name}.state"] = f"does not apply: {row.refusal}" if row.cells else "not run"
            continue
        groups = {"all": list(row.cells), **{f"seed{cell.cell.seed}": [cell] for cell in row.cells}}
        for label, cells in groups.items():
            flat |= {f"{row.name}.{label}.{name}": value for name, value in _figures(cells, row.episodes)}
    return flat


def _figures(cells: Sequence[CellResult], episodes: int) -> Iterator[tuple[str, Any]]:
    yield "tasks", sum(len(cell.scores) for cell in cells)
    for episode in range(episodes):
        numbers, at = episode_of(cells, episode), f"episode{episode + 1}"
        yield f"{at}.success", numbers["rate"]
        yield f"{at}.success_low", numbers["wilson95"][0]
        yield f"{at}.success_high", numbers["wilson95"][1]
        yield f"{at}.first_attempt", numbers["first_attempt_rate"]
        interval = numbers["first_attempt_wilson95"] or (None, None)
        yield f"{at}.first_attempt_low", interval[0]
        yield f"{at}.first_attempt_high", interval[1]
        yield f"{at}.median_steps", numbers["median_steps_to_success"]
    yield "training_steps", mean_of(cells, "steps")
    yield "training_trials", mean_of(cells, "trials")
    yield "demonstrations", mean_of(cells, "demonstrations")
    yield "training_cpu_hours", mean_of(cells, "cpu") / 3600
    yield "training_wall_hours", mean_of(cells, "wall") / 3600
    yield "cpu_hours", sum(cell.cpu_all for cell in cells) / 3600
    found = first_success_statistics([s for c in cells for s in c.scores], _period(cells[0]))
    yield "seconds_to_first_success", found["median_seconds"]
    moves = readaptation([s for c in cells for s in c.scores], episodes, tasks_of(cells))
    if moves["changes"]:
        yield "moves", moves["changes"]
        yield "readapted_within_1", moves["within_1"]["rate"]
        yield "readapted_within_2", moves["within_2"]["rate"]


def mean_of(cells: Sequence[CellResult], name: str) -> float:
    """Mean of a number over cells."""
    return float(sum(getattr(cell, name) for cell in cells) / len(cells))


def _period(cell: CellResult) -> float:
    return cell.cell.settings.evaluation.robot.control_period
