"""What was set out to be reached, and whether the rows of a study reach it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from meld_core.evaluation.readaptation import readaptation
from meld_core.evaluation.scoring import episode_scores, rate
from meld_core.study.results import RowResult, episode_of

_STEPS = (28_800, 14_400, 7_200)
"""Control steps of training, demonstrations included: accept, aim, stretch (2 h, 1 h and 30 min at 4 Hz)."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """One line of the table of goals."""

    text: str
    wanted: str
    measured: str
    reached: bool | None
    """None: not measured yet."""

    def cells(self) -> tuple[str, ...]:
        """As text."""
        return self.text, self.wanted, self.measured, {None: "not measured", True: "yes", False: "**no**"}[self.reached]


def goals(rows: Mapping[str, RowResult]) -> list[Goal]:
    """Goals of the insertion study that its rows can tell; pooled over seeds, and whether every seed reaches them."""
    return [*_learned(rows.get("default")), *_economy(rows.get("default")), *_controls(rows)]


def _learned(row: RowResult | None) -> Iterator[Goal]:
    def rate(name: str) -> Callable[[Mapping[str, Any]], float]:
        return lambda numbers: float(numbers[name] or 0.0)

    steps: Callable[[Mapping[str, Any]], float] = _median
    yield _of(row, "success in episode 2", 1, (">= .95", lambda value: value >= 0.95), rate("rate"))
    yield _of(row, "its Wilson lower bound", 1, (">= .90", lambda value: value >= 0.90), _low)
    yield _of(row, "first attempt in episode 2", 1, (">= .90", lambda v: v >= 0.90), rate("first_attempt_rate"))
    yield _of(row, "median steps to success in episode 2", 1, ("<= 8", lambda value: value <= 8), steps)
    yield _of(row, "success in episode 1", 0, (">= .85", lambda value: value >= 0.85), rate("rate"))


def _low(numbers: Mapping[str, Any]) -> float:
    return float(numbers["wilson95"][0])


def _median(numbers: Mapping[str, Any]) -> float:
    steps = numbers["median_steps_to_success"]
    return float("inf") if steps is None else float(steps)


def _of(
    row: RowResult | None,
    text: str,
    episode: int,
    bound: tuple[str, Callable[[float], bool]],
    value_of: Callable[[Mapping[str, Any]], float],
) -> Goal:
    """A goal of the default row: the pooled value decides; each seed's stands beside it."""
    wanted, holds = bound
    if row is None or not row.cells:
        return Goal(text, wanted, "-", None)
    pooled = value_of(row.pooled(episode))
    seeds = [value_of(episode_of([cell], episode)) for cell in row.cells]
    listed = ", ".join(f"{value:.3g}" for value in seeds)
    return Goal(text, wanted, f"{pooled:.3g} (seeds: {listed})", holds(pooled))


def _economy(row: RowResult | None) -> Iterator[Goal]:
    text = "control steps of training, demonstrations included"
    wanted = "accept {:,}, aim at {:,}, stretch {:,}".format(*_STEPS)
    if row is None or not row.cells:
        yield Goal(text, wanted, "-", None)
        return
    steps, demonstrations = [cell.steps for cell in row.cells], [cell.demonstrations for cell in row.cells]
    listed = ", ".join(f"{value:,}" for value in steps)
    yield Goal(text, wanted, f"{listed} ({demonstrations[0]} demonstrations each)", max(steps) <= _STEPS[0])


def _controls(rows: Mapping[str, RowResult]) -> Iterator[Goal]:
    yield _at_chance(rows.get("no_reward"), "first attempt in episode 2 without reward in the observation")
    yield _same_actions(rows.get("no_reward_every_port"))
    yield _at_chance(rows.get("belief_cleared"), "first attempt in episode 2 with the belief cleared")
    yield _readapted(rows.get("switching"))
    long = rows.get("long_run")
    yield _no_decay(rows.get(long.row.against) if long else None, long)


def _at_chance(row: RowResult | None, text: str) -> Goal:
    """Of the tasks in which a port was entered: who enters none would be below chance, whatever it knows."""
    wanted = "chance (1 in 3) within the interval"
    if row is None or not row.cells:
        return Goal(text, wanted, "-", None)
    scores = episode_scores(row.scores, 1)
    entered = [i for i, score in enumerate(scores) if score.ports]
    if not entered:
        return Goal(text, wanted, "no port was entered", None)
    found = rate([bool(scores[i].first_attempt) for i in entered], [row.tasks[i] for i in entered])
    low, high = found["wilson95"]
    chance = 1.0 / row.cells[0].cell.settings.evaluation.task.ports
    measured = f"{found['rate']:.3f} [{low:.2f}, {high:.2f}] of {found['trials']} that entered a port"
    return Goal(text, wanted, measured, low <= chance <= high)


def _same_actions(row: RowResult | None) -> Goal:
    text, wanted = "actions without reward in the observation, each port live in turn", "the same in every task"
    cells = [cell for cell in row.cells if cell.same_actions] if row is not None else []
    if not cells:
        return Goal(text, wanted, "-", None)
    counts = [f"{sum(cell.same_actions)} of {len(cell.same_actions)} (seed {cell.cell.seed})" for cell in cells]
    measured = f"the same, bit for bit, in {', '.join(counts)}"
    return Goal(text, wanted, measured, all(same for cell in cells for same in cell.same_actions))


def _readapted(row: RowResult | None) -> Goal:
    text, wanted = "success again within 2 episodes of a move of the live port", ">= .80"
    if row is None or not row.cells:
        return Goal(text, wanted, "-", None)
    found = readaptation(row.scores, row.episodes, row.tasks)["within_2"]
    if not found["trials"]:
        return Goal(text, wanted, "the port never moved", None)
    rate, (low, high) = found["rate"], found["wilson95"]
    return Goal(text, wanted, f"{rate:.3f} [{low:.2f}, {high:.2f}] of {found['trials']} moves", rate >= 0.8)


def _no_decay(base: RowResult | None, long: RowResult | None) -> Goal:
    text, wanted = "success in episode 2 after three times as many trials", "not below the interval without them"
    if base is None or long is None or not base.cells or not long.cells:
        return Goal(text, wanted, "-", None)
    low, high = base.pooled(1)["wilson95"]
    rate = long.pooled(1)["rate"]
    return Goal(text, wanted, f"{rate:.3f}, without [{low:.2f}, {high:.2f}]", _not_below(rate, (low, high)))


def _not_below(rate: float, interval: Sequence[float]) -> bool:
    return rate >= interval[0]
