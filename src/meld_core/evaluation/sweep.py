"""Generalisation sweep: the same weights on benches that they were not trained on, one change at a time.

Every condition is a list of settings that override the run's own; nothing is trained. Weights of networks that do not
fit a condition are not bent into it: the condition is reported as one that does not apply, with the reason.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meld_core.config import Config, from_mapping, merge, parse_override, to_mapping
from meld_core.evaluate import ROLLOUT, evaluate
from meld_core.evaluation.intervals import independent_difference
from meld_core.storage.files import make_folder, write_atomic
from meld_core.types import Trial
from meld_core.weights import Weights, WeightsError

SCHEMA = "meld_ros/sweep/1"
SWEEP_FILE = "sweep.json"
MEASURES = ("success", "first_attempt")

OnTrial = Callable[[str, int], None]
"""Told of every finished trial: name of the condition, trials of the sweep that are done."""


class SweepError(ValueError):
    """A sweep that cannot be run; its text is one clear sentence."""


@dataclasses.dataclass(frozen=True)
class Condition:
    """One change of the bench."""

    name: str
    overrides: tuple[str, ...] = ()
    """Settings 'group.name=value' on top of the run's config."""


NOMINAL = Condition("nominal")
SWEEP: tuple[Condition, ...] = (
    NOMINAL,
    Condition("clearance 3 mm", ("task.clearance=0.003",)),
    Condition("clearance 8 mm", ("task.clearance=0.008",)),
    Condition("box 1 to 1.5 x as far off", ("task.box_range=[0.03, 0.0375]", "task.box_beyond=[0.02, 0.025]")),
    Condition("box 1.5 to 2 x as far off", ("task.box_range=[0.04, 0.05]", "task.box_beyond=[0.03, 0.0375]")),
    Condition("heading 1 to 1.5 x as far off", ("task.box_yaw_range=0.225", "task.box_yaw_beyond=0.15")),
    Condition("heading 1.5 to 2 x as far off", ("task.box_yaw_range=0.3", "task.box_yaw_beyond=0.225")),
    Condition("brightness +-30 %", ("sim.light_jitter=0.3",)),
    Condition("brightness +-60 %", ("sim.light_jitter=0.6",)),
    Condition("external camera off by 5 mm", ("sim.camera_jitter=0.005",)),
    Condition("external camera off by 20 mm", ("sim.camera_jitter=0.02",)),
    Condition("pixel noise 8 of 255", ("sim.image_noise=8.0",)),
    Condition("pixel noise 24 of 255", ("sim.image_noise=24.0",)),
    Condition("actions 1 step late", ("sim.action_delay=1",)),
    Condition("4 ports", ("task.ports=4", "model.ports=3")),
    Condition("5 ports", ("task.ports=5", "task.box_range=[0.02, 0.01]", "eval.split=validation", "model.ports=3")),
)
"""One change at a time. Positions and headings further off are drawn from the ring outside the range only. A box of
five ports fills the workspace along y, so that it shifts less; cells are counted from the edge of the range, and those
that are called validation there are the held-out ones of the whole range. Agents of three ports act there as they are.
"""


def run_sweep(
    config: Config,
    weights: Weights,
    out_dir: Path,
    trials: int,
    *,
    conditions: Sequence[Condition] = SWEEP,
    on_trial: OnTrial | None = None,
    collect: str = ROLLOUT,
) -> dict[str, Any]:
    """Evaluate weights under every condition; goes on with what an interrupted sweep left in `out_dir`.

    Args:
        config: The run's config; the first condition must be the nominal one, which changes nothing.
        weights: Whom to evaluate.
        out_dir: Folder of `sweep.json`, written after every condition.
        trials: Held-out tasks per condition.
        conditions: What to change.
        on_trial: Told of progress.
        collect: Where trials come from, 'module:function'.

    Returns:
        Plain JSON: `conditions`, each with `name`, `overrides`, `applies`, `why` (not), `episodes` (see
        `scoring.episode_statistics`) and `difference` to the nominal condition per episode and measure.

    Raises:
        SweepError: unless the first condition is the nominal one.
        WeightsError: where the weights do not fit the config itself.
        EvaluationError: where a worker fails.
    """
    if not conditions or conditions[0].overrides:
        raise SweepError("the first condition of a sweep is the nominal one; differences are taken to it")
    weights.check_fits(config)
    head = _head(config, weights, trials)
    path = make_folder(out_dir) / SWEEP_FILE
    known, bench = _resumed(path, head), _Bench(config, weights, trials, collect)
    rows: list[dict[str, Any]] = []
    for number, condition in enumerate(conditions):
        done = number * trials
        row = known.get((condition.name, condition.overrides))
        if row is None:
            row = bench.evaluate(condition, _Counter(condition.name, done, on_trial))
        rows.append(_compared(row, rows[0] if rows else row))
        write_atomic(path, (json.dumps({**head, "conditions": rows}, indent=2, allow_nan=False) + "\n").encode())
    return {**head, "conditions": rows}


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """A config with some settings changed. Raises ConfigError where one is not valid."""
    raw = to_mapping(config)
    for override in overrides:
        raw = merge(raw, parse_override(override))
    return from_mapping(Config, raw)


class _Counter:
    """Counts finished trials of one condition on top of those of the conditions before."""

    def __init__(self, name: str, done: int, on_trial: OnTrial | None) -> None:
        self._name, self._done, self._on_trial = name, done, on_trial

    def __call__(self, index: int, trial: Trial) -> None:
        self._done += 1
        if self._on_trial is not None:
            self._on_trial(self._name, self._done)


def _head(config: Config, weights: Weights, trials: int) -> dict[str, Any]:
    """What a sweep was made of; another head is another sweep."""
    return {
        "schema": SCHEMA,
        "weights_sha256": weights.digest,
        "weights_version": weights.version,
        "config_sha256": config.digest(),
        "split": config.eval.split,
        "task_seed": config.eval.task_seed,
        "trials": trials,
        "simulated": config.robot.kind == "mujoco",
    }


def _resumed(path: Path, head: Mapping[str, Any]) -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
    """Conditions that an earlier sweep of the same head has done, by name and overrides."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if {name: raw[name] for name in head} != head:
            return {}
        return {(row["name"], tuple(row["overrides"])): row for row in raw["conditions"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@dataclasses.dataclass(frozen=True)
class _Bench:
    """Whom a sweep evaluates, and how."""

    config: Config
    weights: Weights
    trials: int
    collect: str

    def evaluate(self, condition: Condition, count: _Counter) -> dict[str, Any]:
        about = {"name": condition.name, "overrides": list(condition.overrides)}
        config = with_overrides(self.config, condition.overrides)
        try:
            self.weights.check_fits(config)
        except WeightsError as error:
            return {**about, "applies": False, "why": str(error), "episodes": {}}
        evaluation = evaluate(
            config,
            self.weights,
            self.trials,
            config.eval.task_seed,
            processes=min(config.eval.processes, self.trials),
            on_trial=count,
            collect=self.collect,
        )
        return {**about, "applies": True, "why": "", "episodes": evaluation.statistics()}


def _compared(row: dict[str, Any], nominal: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "difference": dict(_differences(row, nominal))}


def _differences(row: Mapping[str, Any], nominal: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Per episode and measure: difference to the nominal rate and its interval, as of independent tasks."""
    for episode, numbers in row["episodes"].items():
        base = nominal["episodes"].get(episode)
        if base is None:
            continue
        differences = {}
        for measure in MEASURES:
            ours, theirs = counts(numbers, measure), counts(base, measure)
            if ours is not None and theirs is not None:
                difference, interval = independent_difference(ours, theirs)
                differences[measure] = {"difference": difference, "interval95": list(interval)}
        yield episode, differences


def counts(numbers: Mapping[str, Any], measure: str) -> tuple[int, int] | None:
    """(hits, trials) of an episode's statistics; None where a bench without truth knows no first attempt."""
    if measure == "success":
        return numbers["successes"], numbers["trials"]
    if numbers["first_attempt_rate"] is None:
        return None
    return numbers["first_attempts"], numbers["trials"]
