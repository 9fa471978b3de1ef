"""What a trial achieved: success, steps to success and first attempt, per episode.

The simulator's truth is the judge where a trial carries it; the reward detector's word stands beside it. On a bench
without truth the detector judges and there is no first attempt, which needs to know the port that was entered.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from meld_core.evaluation.intervals import effective_size, wilson
from meld_core.tasks import live_port
from meld_core.types import Source, Trial


@dataclasses.dataclass(frozen=True)
class EpisodeScore:
    """Score of one episode."""

    success: bool
    """By the simulator's truth; by the reward detector where there is no truth."""
    detected: bool
    """Whether the reward detector saw a success."""
    steps: int
    """Steps that the episode took."""
    steps_to_success: int | None
    """Steps until the first success; None without one."""
    ports: tuple[int, ...]
    """Ports whose face the tip passed by at least 3 mm, each once, in order of first entry."""
    first_attempt: bool | None
    """Whether the first port entered was the live one; no entry is a failure. None without truth."""
    moved: bool = False
    """Whether the live port is another one than in the episode before."""


MISSED = EpisodeScore(False, False, 0, None, (), False)
"""Score of an episode that a trial was aborted before: a failure."""


def score_trial(trial: Trial) -> tuple[EpisodeScore, ...]:
    """Score every episode that a trial holds, in order."""
    episodes = list(trial.episodes())
    live = [live_in_episode(trial, rows) for rows in episodes]
    before = [*live[:1], *live]
    return tuple(
        _score_episode(trial, rows, now, now != then) for rows, now, then in zip(episodes, live, before, strict=False)
    )


def live_in_episode(trial: Trial, rows: slice) -> int:
    """The live port of the episode that begins at `rows.start`: by the simulator's truth, else by the task."""
    if "live" in trial.truth:
        return int(trial.truth["live"][rows.start])
    task, episode = trial.meta.task, int(trial.rows["episode"][rows.start])
    return live_port(task["live"], task.get("later_live", ()), episode)


def _score_episode(trial: Trial, rows: slice, live: int, moved: bool) -> EpisodeScore:
    detected = trial.rows["success"][rows] & trial.rows["reward_valid"][rows]
    success = trial.truth["success"][rows] > 0.5 if "success" in trial.truth else detected
    steps = trial.rows["step"][rows]
    reached = np.flatnonzero(success)
    ports = ports_entered(trial, rows)
    return EpisodeScore(
        success=bool(reached.size),
        detected=bool(detected.any()),
        steps=int(steps[-1]),
        steps_to_success=int(steps[reached[0]]) if reached.size else None,
        ports=ports,
        first_attempt=ports[:1] == (live,) if "port" in trial.truth else None,
        moved=moved,
    )


def ports_entered(trial: Trial, rows: slice) -> tuple[int, ...]:
    """Ports that the tip was inside of by at least 3 mm, each once, in order of first entry."""
    if "port" not in trial.truth:
        return ()
    inside = trial.truth["port"][rows]
    return tuple(dict.fromkeys(int(port) for port in inside[inside >= 0]))


def trial_summary(trial: Trial) -> dict[str, Any]:
    """The part of a `trial` row of metrics.jsonl that the trial itself knows; one list element per episode."""
    scores = score_trial(trial)
    return {
        "trial": trial.meta.id.counter,
        "source": _source(trial),
        "success": [score.success for score in scores],
        "detected": [score.detected for score in scores],
        "first_attempt": [score.first_attempt for score in scores],
        "steps_to_success": [score.steps_to_success for score in scores],
        "episode_steps": [score.steps for score in scores],
        "weights_version": trial.meta.weights_version,
        "aborted": trial.meta.aborted,
        **({"moved": [score.moved for score in scores]} if trial.meta.task.get("later_live") else {}),
    }


def _source(trial: Trial) -> str:
    """Who acted: the source's name in lower case, 'mixed' where a person took over from the policy."""
    acted = np.ones(len(trial), dtype=bool)
    acted[[rows.stop - 1 for rows in trial.episodes()]] = False
    names = {Source(int(code)).name.lower() for code in trial.rows["source"][acted]}
    return names.pop() if len(names) == 1 else "mixed"


def rate(outcomes: Sequence[bool], tasks: Sequence[Hashable] | None = None) -> dict[str, Any]:
    """Successes, trials, rate and its Wilson interval; where several trials were on one task, of the effective size."""
    successes, n = sum(outcomes), len(outcomes)
    size = effective_size([float(hit) for hit in outcomes], tasks) if tasks and n else float(n)
    return {
        "successes": successes,
        "trials": n,
        "rate": successes / n if n else None,
        "wilson95": list(wilson(successes / n * size if n else 0, size)),
    }


def episode_scores(scores: Sequence[tuple[EpisodeScore, ...]], episode: int) -> list[EpisodeScore]:
    """Scores of one episode over all trials; an episode that an aborted trial lacks counts as a failure."""
    return [trial[episode] if episode < len(trial) else MISSED for trial in scores]


def episode_statistics(
    scores: Sequence[EpisodeScore], horizon: int, tasks: Sequence[Hashable] | None = None
) -> dict[str, Any]:
    """What a certificate says about one episode.

    Args:
        scores: One per trial.
        horizon: Steps that a failure counts as in `mean_steps_failures_as_horizon`.
        tasks: Which task each trial was on, where several were on one.
    """
    taken = [score.steps_to_success for score in scores if score.steps_to_success is not None]
    failures = [horizon] * (len(scores) - len(taken))
    judged = [i for i, score in enumerate(scores) if score.first_attempt is not None]
    known = [bool(scores[i].first_attempt) for i in judged]
    attempts: Mapping[str, Any] = rate(known, tasks and [tasks[i] for i in judged])
    return {
        **rate([score.success for score in scores], tasks),
        "detected_successes": sum(score.detected for score in scores),
        "first_attempt_rate": attempts["rate"],
        "first_attempt_wilson95": attempts["wilson95"] if known else None,
        "first_attempts": attempts["successes"],
        "no_port_entered": sum(not score.ports for score in scores) if known else None,
        "median_steps_to_success": statistics.median(taken) if taken else None,
        "mean_steps_failures_as_horizon": statistics.fmean(taken + failures) if scores else None,
    }


def first_success(trial: Sequence[EpisodeScore]) -> tuple[int, int] | None:
    """(episode, counted from 0; control steps since the trial began) of a trial's first success; None without one."""
    before = 0
    for episode, score in enumerate(trial):
        if score.steps_to_success is not None:
            return episode, before + score.steps_to_success
        before += score.steps
    return None


def first_success_statistics(scores: Sequence[Sequence[EpisodeScore]], control_period: float) -> dict[str, Any]:
    """When trials first succeeded: in which episode, and after how much robot time, resets not counted.

    Args:
        scores: [trial][episode].
        control_period: Length of a step [s].

    Returns:
        `episodes`: trials per episode, counted from 1, and `never`; median and mean of steps and seconds over the
        trials that did succeed, None where none did.
    """
    reached = [found for trial in scores if (found := first_success(trial)) is not None]
    longest = max((len(trial) for trial in scores), default=0)
    counts = {str(k + 1): sum(episode == k for episode, _ in reached) for k in range(longest)}
    steps = [taken for _, taken in reached]
    middle = statistics.median(steps) if steps else None
    mean = statistics.fmean(steps) if steps else None
    return {
        "trials": len(scores),
        "episodes": {**counts, "never": len(scores) - len(reached)},
        "median_steps": middle,
        "mean_steps": mean,
        "median_seconds": None if middle is None else middle * control_period,
        "mean_seconds": None if mean is None else mean * control_period,
    }


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of one agent on a fixed set of tasks."""

    split: str
    split_hash: str
    task_seed: int
    episodes: int
    """Episodes per trial."""
    horizon: int
    greedy: bool
    clear_belief: bool
    weights_version: int
    """-1 for the untrained agent."""
    weights_digest: str
    trained_through_trial: int
    scores: tuple[tuple[EpisodeScore, ...], ...]
    """[task][episode]; an aborted trial lacks its last episodes."""

    @property
    def has_truth(self) -> bool:
        """Whether every episode was judged by the simulator's truth."""
        return all(score.first_attempt is not None for trial in self.scores for score in trial)

    @property
    def belief(self) -> str:
        """carried or cleared."""
        return "cleared" if self.clear_belief else "carried"

    def outcomes(self, measure: str, episode: int) -> list[bool]:
        """One outcome per task, for measure 'success' or 'first_attempt'; what is unknown counts as a failure."""
        return [bool(getattr(score, measure)) for score in episode_scores(self.scores, episode)]

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Per episode, counted from 1: see `scoring.episode_statistics`."""
        return {
            str(episode + 1): episode_statistics(episode_scores(self.scores, episode), self.horizon)
            for episode in range(self.episodes)
        }
