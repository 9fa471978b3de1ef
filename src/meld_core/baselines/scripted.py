"""Two rivals that learn nothing: a classical search with perfect vision, and an oracle that knows the live port.

Both are told by the simulator where box and ports are, without any error, which our agent has to see in its pictures.
The search is not told which port is live: it learns that from the reward detector, as the agent does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from meld_core.baselines.raw_trials import RivalError, keep, rescore, run_rival
from meld_core.config import Config, did_you_mean
from meld_core.evaluate import OnProgress
from meld_core.evaluation.workers import Job, collect_in_processes
from meld_core.schedule import TrialPlan, held_out_plans
from meld_core.scripted_search import ScriptedSearch
from meld_core.tasks import Task, seated
from meld_core.trial import RowFlags
from meld_core.types import Observation, Trial
from meld_core.weights import Weights


class PerfectVisionSearch:
    """Tries ports, the nearest first; goes for the one that paid in an earlier episode, as long as it pays.

    A port in which the plug was seated without a reward is not tried again in this episode, and in later ones only
    after all others.
    """

    weights_version = -1
    weights_digest = ""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.forget()

    def set_task(self, task: Task) -> None:
        """Where the ports are; which one is live is not looked at."""
        self._ports = task.ports
        self._task = task
        self._way = ScriptedSearch(task, self._config)

    def begin_trial(self, seed: int, greedy: bool = False) -> None:
        """Nothing was tried yet."""
        self.forget()

    def forget(self) -> None:
        """Forget which port paid, and which did not."""
        self._paid: int | None = None
        self._failed: set[int] = set()
        self._begin_episode()

    def _begin_episode(self) -> None:
        self._tried: set[int] = set()
        self._goal: int | None = None
        self._seated_for = 0

    def observe(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> None:
        """Take note of where the tip is, and of what the port pays in which the plug is seated."""
        self._tool = observation.state.tool_position
        if flags.first_in_episode:
            self._begin_episode()
        port, reward = self._seated(), observation.reward
        self._seated_for = 0 if port is None else self._seated_for + 1
        if port is None or not reward.valid:
            return
        if reward.success:
            self._paid = port
        elif self._seated_for >= self._config.reward.debounce:
            self._give_up(port)

    def _seated(self) -> int | None:
        ports = range(len(self._ports))
        return next((p for p in ports if seated(self._tool, self._task, p, self._config.task)), None)

    def _give_up(self, port: int) -> None:
        self._tried.add(port)
        self._failed.add(port)
        if self._paid == port:
            self._paid = None

    def act(self, greedy: bool) -> np.ndarray:
        """Tool displacement (3,) float32 in [-1, 1]."""
        if self._paid is not None:
            return self._way.toward(self._tool, self._paid)
        if self._goal is None or self._goal in self._tried:
            self._goal = self._next()
        return self._way.toward(self._tool, self._goal)

    def _next(self) -> int:
        if len(self._tried) == len(self._ports):
            self._tried.clear()
        away = [float(np.linalg.norm(self._tool[:2] - np.asarray(port[:2]))) for port in self._ports]
        left = set(range(len(self._ports))) - self._tried
        return min(left, key=lambda port: (port in self._failed, away[port]))


class Oracle:
    """Goes straight for the live port: the upper bound of what this arm can do at this control rate."""

    weights_version = -1
    weights_digest = ""

    def __init__(self, config: Config) -> None:
        self._config = config

    def set_task(self, task: Task) -> None:
        """Where the ports are, and which one is live."""
        self._task = task
        self._way = ScriptedSearch(task, self._config)

    def begin_trial(self, seed: int, greedy: bool = False) -> None:
        """It knows everything already."""

    def forget(self) -> None:
        """It remembers nothing."""

    def observe(self, observation: Observation, flags: RowFlags, previous_action: np.ndarray) -> None:
        """Take note of where the tip is."""
        self._tool, self._episode = observation.state.tool_position, flags.episode

    def act(self, greedy: bool) -> np.ndarray:
        """Tool displacement (3,) float32 in [-1, 1]."""
        return self._way.toward(self._tool, self._task.live_in(self._episode))


def collect_search(
    config: Config, _: Weights | None, plans: Iterable[TrialPlan], clear_belief: bool = False
) -> Iterator[Trial]:
    """Trials of the search, for `evaluation_workers.Job`."""
    yield from run_rival(config, PerfectVisionSearch(config), plans, "search", clear_belief)


def collect_oracle(
    config: Config, _: Weights | None, plans: Iterable[TrialPlan], clear_belief: bool = False
) -> Iterator[Trial]:
    """Trials of the oracle, for `evaluation_workers.Job`."""
    yield from run_rival(config, Oracle(config), plans, "oracle", clear_belief)


SCRIPTED = {
    "search": f"{__name__}:collect_search",
    "oracle": f"{__name__}:collect_oracle",
}
"""Kind → where its trials come from."""


def evaluate_scripted(
    config: Config,
    kind: str,
    trials: int,
    task_seed: int,
    folder: Path,
    *,
    processes: int = 1,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Run a scripted rival on held-out tasks, keep its raw trials, and score these.

    Args:
        config: `eval.split` names the tasks.
        kind: An entry of SCRIPTED.
        trials: Number of tasks; task i is number `task_seed + i` of its split.
        task_seed: First task.
        folder: Of the raw trials; must not exist yet.
        processes: Worker processes; the result does not depend on their number.
        on_progress: Told after every trial.

    Returns:
        See `raw_trials.rescore`.

    Raises:
        RivalError: on an unknown kind, or where the folder exists.
        EvaluationError: where a worker fails or dies.
    """
    if kind not in SCRIPTED:
        raise RivalError(f"there is no scripted rival '{kind}'{did_you_mean(kind, SCRIPTED)}")
    job = Job(config, None, held_out_plans(config, trials, task_seed), False, SCRIPTED[kind])
    keep((trial for _, trial in collect_in_processes(job, processes)), folder, trials, on_progress)
    return rescore(config, folder, command=f"evaluate_scripted {kind}")
