"""Where a run stands, computed from the rows of its metrics file."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from meld_core.config import Config

WINDOW = 50
"""Newest policy trials that rates are computed over."""
PACE_WINDOW = 40
"""Newest trials that the pace is computed over."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a progress display says. None: not known yet."""

    phase: str
    phase_current: int
    phase_total: int
    trials: int
    trials_planned: int
    steps: int
    steps_per_second: float | None
    success: tuple[float | None, ...]
    """Per episode, over the last WINDOW policy trials."""
    first_attempt: tuple[float | None, ...]
    window: int
    """Policy trials that the rates rest on."""
    losses: Mapping[str, float]
    replay_ratio: float | None
    weights_version: int | None
    weights_age: int | None
    """[trials] that the acting weights are behind."""
    note: str
    """What a person should know, in a sentence: why the run pauses, that it was rolled back."""
    aborted: int
    """Trials that were broken off and begun again."""
    seconds_left: float | None
    """Until the end of training, None before a round of updates is in the pace; during evaluation, until its end."""


class RunState:
    """Takes rows in, gives snapshots out.

    Args:
        config: Of the run.
        since: Rows before this time [unix seconds] count for totals but not for the pace: between them and now the
            run may have stood still.
    """

    def __init__(self, config: Config, since: float = 0.0) -> None:
        self._episodes = config.task.episodes
        self._planned = config.train.trials
        self._since = since
        self._trials: dict[int, Mapping[str, Any]] = {}
        self._policy: dict[int, Mapping[str, Any]] = {}
        self._learner: Mapping[str, Any] = {}
        self._status: Mapping[str, Any] = {}
        self._note = ""
        self._aborted = 0
        self._round = config.learner.update_every
        self._trial_pace = Pace(PACE_WINDOW)
        self._policy_pace = Pace(PACE_WINDOW)
        self._phase_pace = Pace(PACE_WINDOW)

    def update(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows, in the order in which they were written; a redone trial replaces its earlier row."""
        for row in rows:
            if row["kind"] == "trial" and isinstance(row.get("trial"), int):
                self._count_trial(row)
            elif row["kind"] == "learner":
                self._learner = row
            elif row["kind"] == "status":
                self._note = str(row.get("note", self._note))
                if "phase" in row:
                    self._count_status(row)

    def _count_trial(self, row: Mapping[str, Any]) -> None:
        index = row["trial"]
        self._aborted += bool(row.get("aborted"))
        self._trials[index] = row
        counts = (time := row.get("time") or 0.0) >= self._since
        if row.get("source") == "policy":
            self._policy.pop(index, None)
            self._policy[index] = row
            if counts:
                self._policy_pace.add(time, index, None)
        if counts:
            self._trial_pace.add(time, index, row.get("steps"))

    def _count_status(self, row: Mapping[str, Any]) -> None:
        if row.get("phase") != self._status.get("phase"):
            self._phase_pace = Pace(PACE_WINDOW)
        self._status = row
        if (time := row.get("time") or 0.0) >= self._since:
            self._phase_pace.add(time, row.get("current"), None)

    def snapshot(self) -> Snapshot:
        """The run as of the last row."""
        newest = self._trials[max(self._trials)] if self._trials else {}
        recent = list(self._policy.values())[-WINDOW:]
        return Snapshot(
            phase=str(self._status.get("phase", "starting")),
            phase_current=int(self._status.get("current") or 0),
            phase_total=int(self._status.get("total") or 0),
            trials=max(self._trials, default=-1) + 1,
            trials_planned=self._planned,
            steps=int(newest.get("steps") or 0),
            steps_per_second=self._trial_pace.steps_per_second(),
            success=self._rates(recent, "success"),
            first_attempt=self._rates(recent, "first_attempt"),
            window=len(recent),
            losses={name: value for name, value in self._learner.items() if "/" in name and value is not None},
            replay_ratio=self._learner.get("replay_ratio"),
            weights_version=newest.get("weights_version"),
            weights_age=newest.get("weights_age"),
            note=self._note,
            aborted=self._aborted,
            seconds_left=self._seconds_left(),
        )

    def _rates(self, rows: list[Mapping[str, Any]], measure: str) -> tuple[float | None, ...]:
        return tuple(_rate([_outcome(row, measure, episode) for row in rows]) for episode in range(self._episodes))

    def _seconds_left(self) -> float | None:
        if self._status.get("phase") == "evaluation":
            return self._phase_pace.seconds_until(self._status.get("total"))
        if self._policy_pace.span < self._round:  # demonstrations say nothing of how long updates take
            return None
        return self._policy_pace.seconds_until(self._planned - 1)


def _outcome(row: Mapping[str, Any], measure: str, episode: int) -> bool | None:
    outcomes = row.get(measure) or []
    return outcomes[episode] if episode < len(outcomes) else None


def _rate(outcomes: list[bool | None]) -> float | None:
    known = [outcome for outcome in outcomes if outcome is not None]
    return sum(known) / len(known) if known else None


class Pace:
    """How fast a counter moves, over its newest values."""

    def __init__(self, window: int) -> None:
        self._marks: collections.deque[tuple[float, int, int | None]] = collections.deque(maxlen=window)

    def add(self, time: float, count: int | None, steps: int | None) -> None:
        """One mark: time [s], the counter, and the steps at that moment where they are known."""
        if count is not None:
            self._marks.append((time, count, steps))

    @property
    def span(self) -> int:
        """How far the counter has moved between the oldest and the newest mark."""
        return self._marks[-1][1] - self._marks[0][1] if self._marks else 0

    def steps_per_second(self) -> float | None:
        """Steps per second between the oldest and the newest mark."""
        marks = [(time, steps) for time, _, steps in self._marks if steps is not None]
        if len(marks) < 2 or marks[-1][0] <= marks[0][0]:
            return None
        return (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])

    def seconds_until(self, target: int | None) -> float | None:
        """Seconds until the counter arrives at `target`, at this pace."""
        if target is None or len(self._marks) < 2:
            return None
        (start, first, _), (end, last, _) = self._marks[0], self._marks[-1]
        if last <= first or end <= start:
            return None
        return max(0.0, (target - last) * (end - start) / (last - first))
