"""StepTimes: where the time of a step goes, from the stamp of the camera's picture to the executed action."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping

from meld_core.config import Config
from meld_core.histogram import Histogram

STAGES = ("capture", "transport", "reward", "join", "infer", "gate", "total")
PICTURE, JUDGEMENT = "image", "reward"
"""Parts of a step that have stages of their own."""
_OPEN_STEPS = 4
_ROW = "latency/"
_QUANTILES = ("p50", "p95", "p99", "max")


@dataclasses.dataclass
class _Step:
    """Moments of one step [ns]; 0 before they came."""

    first: int
    last: int
    pictured: int = 0
    judged: int = 0
    commanded: int = 0


class StepTimes:
    """Histograms of the stages of a step, as policy_node sees them.

    capture: stamp of the picture to its publication (realtime only: simulated stamps tell nothing of it) · transport:
    from there until it is here · reward: its publication to that of its judgement · join: first to last message of the
    step · infer: from there to the command · gate: from the command to the publication of what was executed (in
    lockstep with the simulation of the step and its pictures) · total: stamp of the picture (in lockstep its
    publication) to the publication of what was executed. Reward and transport overlap with join.

    All moments are the system clock's, which is also the middleware's; where camera, robot and policy are several
    machines, their clocks must agree. A message that comes again, or for a step that is over, changes nothing.

    Args:
        period: Realtime: the control period [s], by which a step must be executed; None: no step can be late.
        wall_stamps: Whether stamps are of the system clock.
        clock: System clock [ns].
    """

    def __init__(
        self, period: float | None = None, wall_stamps: bool = False, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._period = None if period is None else round(period * 1e9)
        self._wall, self._clock = wall_stamps, clock
        self._open: dict[int, _Step] = {}
        self._acted, self._over = 0, 0
        self.stages = {name: Histogram() for name in STAGES}
        self.due = 0
        """Steps that were due: acted on, or passed over."""
        self.missed = 0
        """Of these, steps that were passed over, and steps that were executed more than a period after their stamp."""

    @classmethod
    def of(cls, config: Config, clock_topic: bool) -> StepTimes:
        """By the settings; `clock_topic`: whether ROS time is told on a topic, so that stamps are not the system's."""
        realtime = config.robot.mode == "realtime"
        return cls(config.robot.control_period if realtime else None, realtime and not clock_topic)

    def begin(self) -> None:
        """Another episode: what is open is not waited for."""
        self._open.clear()
        self._acted = 0

    def part(self, name: str, stamp: int, published: int) -> None:
        """A message of the step with this stamp came, that was `published` at this moment [ns]."""
        now = self._clock()
        if stamp <= self._over:
            return
        step = self._open.setdefault(stamp, _Step(now, now))
        while len(self._open) > _OPEN_STEPS:
            del self._open[min(self._open)]
        if step.commanded:
            return
        step.last = now
        if name == PICTURE and not step.pictured:
            step.pictured = published
            self._count("transport", now - published)
            if self._wall:
                self._count("capture", published - stamp)
        elif name == JUDGEMENT and not step.judged:
            step.judged = published

    def commanded(self, stamp: int) -> None:
        """Its command was sent."""
        step = self._open.get(stamp)
        if step is None or step.commanded:
            return
        step.commanded = self._clock()
        self._count("join", step.last - step.first)
        self._count("infer", step.commanded - step.last)
        if step.judged and step.pictured:
            self._count("reward", step.judged - step.pictured)
        self._count_due(stamp)

    def _count_due(self, stamp: int) -> None:
        """In realtime steps come once in a period; those between two that were acted on were passed over."""
        gap = stamp - self._acted if self._period and self._acted else 0
        passed_over = max(0, round(gap / self._period) - 1) if self._period else 0
        self.due += 1 + passed_over
        self.missed += passed_over
        self._acted = stamp

    def executed(self, stamp: int, published: int) -> None:
        """What was executed is known; its message was `published` at this moment [ns]."""
        step = self._open.get(stamp)
        if step is None or not step.commanded:
            return
        self._over = stamp
        self._open = {later: other for later, other in self._open.items() if later > stamp}
        total = published - (stamp if self._wall else step.pictured or step.first)
        self._count("gate", published - step.commanded)
        self._count("total", total)
        self.missed += int(self._period is not None and self._wall and total > self._period)

    def _count(self, stage: str, duration: int) -> None:
        self.stages[stage].add(max(0, duration) * 1e-9)

    def values(self) -> dict[str, str]:
        """For a person: quantiles of each stage that was seen, and in realtime how many steps were late."""
        shown = {f"{name} [ms]": str(histogram) for name, histogram in self.stages.items() if histogram.count}
        return shown | ({"missed steps": f"{self.missed} of {self.due}"} if self._period else {})

    def row(self) -> dict[str, float | int]:
        """For the run's metrics, kind `latency`: all since this object was made."""
        row: dict[str, float | int] = {"due": self.due}
        if self._period:
            row["missed"] = self.missed
        for name, histogram in self.stages.items():
            if histogram.count:
                row |= {f"{_ROW}{name}_{key}_ms": round(value, 3) for key, value in histogram.summary().items()}
        return row


def checked_row(raw: Mapping[str, object]) -> dict[str, float | int]:
    """A row of `StepTimes.row` and the `trial` it follows, as it came over the network; what else is there is left out.

    Raises:
        ValueError: where something is missing, or no number, in one sentence.
    """
    names = [name for name in raw if name in ("trial", "due", "missed") or name.startswith(_ROW)]
    row = {name: value for name in names if isinstance(value := raw[name], int | float) and math.isfinite(value)}
    wrong = [name for name in names if name not in row]
    wrong += [name for name in ("trial", "due", "missed") if type(row.get(name, 0)) is not int]
    if wrong or not {"trial", "due"} <= row.keys():
        raise ValueError(f"these are no times of steps ({', '.join(wrong) or 'trial or due is missing'}): {raw!a:.120}")
    return row


def latency_table(row: Mapping[str, object]) -> list[tuple[str, ...]]:
    """A row of the metrics for people: stage and its quantiles [ms]."""
    table = []
    for stage in STAGES:
        values = [row.get(f"{_ROW}{stage}_{key}_ms") for key in _QUANTILES]
        if all(isinstance(value, int | float) for value in values):
            table.append((stage, *(f"{value:.1f}" for value in values)))
    return table
