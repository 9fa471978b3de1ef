"""The graph in realtime at several rates, the trainer training beside it: how many steps miss their deadline.

A step is missed when its command is executed more than one period after the stamp of its picture, or when it was passed
over (`step_times.StepTimes`). Weights arrive and are swapped as in any training.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meld_core.bench.figures import BenchError, Figure, Goal, Setup
from meld_core.config import Config, load_config
from meld_core.metrics import read_rows
from meld_core.step_times import STAGES
from meld_core.storage.run_folder import RunFolder
from meld_ros.bench.running import peaks_of, run_folder, supervise
from meld_ros.supervisor import Supervisor

RATES: dict[int, int] = {4: 240, 10: 600, 20: 3000, 50: 3000}
"""Control rate [Hz] → steps that are measured."""
_GOAL_RATE, _GOAL = 20, 0.001
_SPEED = 0.08
"""Largest tool speed that an action asks for [m/s]: the default's, whatever the rate."""
_START = 120.0
"""Until the first row of times is there [s]."""
_LOOK = 0.5
_TINY = (
    "task.horizon=8", "sim.image_size=32", "sim.detector_size=32", "reward.region=[0,0,32,32]", "reward.min_pixels=2",
    "model.features=16", "model.memory=16", "model.hidden=16", "sac.hidden=16", "learner.batch_trials=2",
    "learner.model_updates=2", "learner.ac_updates=2",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a run at one rate gave."""

    due: int
    missed: int
    row: Mapping[str, Any]
    """The newest row of times."""
    aborted: int
    """Trials that were broken off."""
    peaks: Mapping[str, float]
    """Most resident memory of every node [MB]."""


def measure(setup: Setup) -> Iterator[Figure]:
    """Share of missed steps per rate, and memory of every node in the last run."""
    rates = {_GOAL_RATE: 1} if setup.quick else RATES
    for rate, steps in rates.items():
        setup.tell(f"realtime at {rate} Hz, the trainer beside it, {steps} steps")
        found = run_at(realtime_config(rate, _TINY if setup.quick else ()), steps)
        yield _figure(rate, found)
    for node, megabytes in found.peaks.items():
        values = {f"graph.{node}.peak_rss_mb": round(megabytes, 1)}
        yield Figure(what=f"peak memory of {node}_node", unit="MB", median=megabytes, values=values)


def realtime_config(rate: int, overrides: Sequence[str] = ()) -> Config:
    """A training that never ends: trials of 2 x 2 s, and a learner that always has something to do."""
    period = 1.0 / rate
    always = (
        "robot.mode=realtime", f"robot.control_period={period}", f"robot.step_size={max(0.001, _SPEED * period)}",
        "task.episode_form=fixed_length", f"task.horizon={2 * rate}", "train.trials=100000", "train.demonstrations=2",
        "learner.update_every=1", "learner.pretrain_model_updates=5", "learner.pretrain_ac_updates=5",
        "learner.threads=1", "learner.device=cpu",
    )  # fmt: skip
    return load_config(overrides=[*always, *overrides])


def run_at(config: Config, steps: int) -> Measured:
    """Run the graph until so many steps were due after the first row of times.

    Raises:
        BenchError: where a node ends, or no row of times comes.
    """
    with run_folder(config) as folder:
        patience = _START + 4.0 * steps * config.robot.control_period

        def watch(supervisor: Supervisor, ended: threading.Event, peaks: dict[str, float]) -> None:
            deadline = time.monotonic() + patience
            while not ended.wait(_LOOK) and time.monotonic() < deadline and _due(folder)[0] < steps:
                peaks_of(supervisor, peaks)
            supervisor.request_stop()

        outcome, peaks = supervise("train", config, folder, watch)
        if outcome.code != 0:
            raise BenchError(f"the graph in realtime broke off: {outcome.reason}")
        due, missed = _due(folder)
        if due == 0:
            raise BenchError(f"the graph in realtime gave no times of steps within {patience:.0f} s")
        aborted = sum(bool(row.get("aborted")) for row in read_rows(folder.path, "trial"))
        return Measured(due, missed, read_rows(folder.path, "latency")[-1], aborted, peaks)


def _due(folder: RunFolder) -> tuple[int, int]:
    """Steps that were due and those that were missed, the first trials, in which everything is new, left out."""
    rows = read_rows(folder.path, "latency")
    if not rows:
        return 0, 0
    first = rows[0] if len(rows) > 1 else {"due": 0, "missed": 0}
    return rows[-1]["due"] - first["due"], rows[-1]["missed"] - first["missed"]


def _figure(rate: int, found: Measured) -> Figure:
    place, share, row = f"graph.realtime_{rate}hz", found.missed / found.due, found.row
    values: dict[str, Any] = {
        f"{place}_deadline_miss_rate": round(share, 5),
        f"{place}_steps": found.due,
        f"{place}_aborted_trials": found.aborted,
        f"{place}_max_ms": row["latency/total_max_ms"],
    }
    for stage in STAGES:
        values |= {f"{place}_{stage}_{key}_ms": row[f"latency/{stage}_{key}_ms"] for key in ("p50", "p99")}
    goal = Goal(text="below 0.1 % missed", met=share < _GOAL) if rate == _GOAL_RATE else None
    what = f"realtime at {rate} Hz: picture to executed action; {100 * share:.2f} % of {found.due} steps missed"
    median, p99 = row["latency/total_p50_ms"], row["latency/total_p99_ms"]
    return Figure(what=what, unit="ms", median=median, p99=p99, values=values, goal=goal)
