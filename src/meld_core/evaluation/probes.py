"""What a belief knows of the hidden task, and when (MELD_SPEC checks 21 to 24): a linear probe along the trial.

The probe is ridge regression of the live port, one-hot, on the standardised state of the filter; its answer is the
port with the largest score. It is fitted and scored on different tasks: each of FOLDS parts of the tasks is scored by
a probe that was fitted on the others. Beside it stand what the belief itself expects (the port of the largest
predicted reward, nothing fitted) and an ideal observer: who remembers which ports were answered by which reward.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from meld_core.evaluation.beliefs import BeliefReader, BeliefTrace
from meld_core.evaluation.scoring import rate
from meld_core.types import Trial

FOLDS = 5
RIDGE = 0.3
"""Penalty of the probe, per task that it is fitted on."""
MOMENTS = {
    "start": "start of the trial",
    "before_answer": "before the first reward that tells",
    "after_answer": "after the first reward that tells",
    "end_1": "end of episode 1",
    "start_2": "start of episode 2",
    "end_2": "end of episode 2",
}
"""A reward tells where the plug is seated in a port: 1 finds the live one, 0 excludes this one."""


class ProbeError(ValueError):
    """Nothing can be probed; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """The belief at one row of one trial."""

    live: int
    """The port to name."""
    state: np.ndarray
    """(D,)."""
    expected: np.ndarray | None
    """(P,) in [0, 1]; None where the model has no query head."""
    ideal: float
    """Probability that an ideal observer names the live port."""


@dataclasses.dataclass(frozen=True)
class ProbedTrial:
    """What is kept of one trial."""

    moments: Mapping[str, Moment]
    """By a name of MOMENTS; those that the trial had."""
    expected: Sequence[tuple[np.ndarray, np.ndarray]]
    """Per episode the predicted reward of the live port and the mean of the others, (T + 1,) each; () without."""


def probed_trial(trace: BeliefTrace) -> ProbedTrial:
    """Pick the moments of one trial."""
    return ProbedTrial(
        moments={name: _moment(trace, row) for name, row in moment_rows(trace).items()},
        expected=_expected_by_episode(trace),
    )


def moment_rows(trace: BeliefTrace) -> dict[str, int]:
    """Row of each moment that a trial had."""
    starts = np.flatnonzero(trace.first_in_episode)
    answers = np.flatnonzero(trace.in_port.any(axis=-1) & ~trace.first_in_episode)
    rows = {"start": 0}
    if len(answers):
        rows |= {"before_answer": int(answers[0]) - 1, "after_answer": int(answers[0])}
    if len(starts) > 1:
        end = int(starts[2]) if len(starts) > 2 else len(trace.first_in_episode)
        rows |= {"end_1": int(starts[1]) - 1, "start_2": int(starts[1]), "end_2": end - 1}
    return rows


def _moment(trace: BeliefTrace, row: int) -> Moment:
    expected = None if trace.expected is None else trace.expected[row]
    return Moment(int(trace.live[row]), trace.state[row], expected, ideal_observer(trace, row))


def ideal_observer(trace: BeliefTrace, row: int) -> float:
    """Probability of naming the live port for one who remembers every answer until `row`, and knows the ports.

    Where the live port may move between episodes, only those of the same episode count.
    """
    asked = trace.in_port & ~trace.first_in_episode[:, None]
    if trace.may_move:
        asked[: np.flatnonzero(trace.first_in_episode[: row + 1])[-1]] = False
    paid = trace.reward[:, None] > 0.5
    if (asked & paid)[: row + 1].any():
        return 1.0
    excluded = (asked & ~paid)[: row + 1].any(axis=0).sum()
    return 1.0 / max(1, trace.in_port.shape[1] - int(excluded))


def _expected_by_episode(trace: BeliefTrace) -> list[tuple[np.ndarray, np.ndarray]]:
    if trace.expected is None:
        return []
    starts = np.flatnonzero(trace.first_in_episode).tolist()
    live = trace.expected[np.arange(len(trace.live)), trace.live]
    others = (trace.expected.sum(axis=1) - live) / max(1, trace.expected.shape[1] - 1)
    return [(live[a:b], others[a:b]) for a, b in zip(starts, [*starts[1:], len(live)], strict=True)]


class BeliefCollector:
    """Keeps the moments of every evaluated trial; an `evaluate.OnTrial`."""

    def __init__(self, reader: BeliefReader, *, hide_reward: bool = False) -> None:
        self._reader, self._hide = reader, hide_reward
        self._trials: dict[int, ProbedTrial] = {}

    def __call__(self, index: int, trial: Trial) -> None:
        """Filter a finished trial again and keep what is probed."""
        self._trials[index] = probed_trial(self._reader.trace(trial, hide_reward=self._hide))

    def in_order(self) -> list[ProbedTrial]:
        """By task."""
        return [self._trials[index] for index in sorted(self._trials)]


def probe_answers(states: np.ndarray, live: np.ndarray, ports: int) -> np.ndarray:
    """The probe's answer for every task, each by a probe fitted on other tasks: states (N, D), live (N,) → (N,).

    Raises:
        ProbeError: where there are fewer tasks than folds.
    """
    if len(states) < FOLDS:
        raise ProbeError(f"a probe of {FOLDS} folds needs at least {FOLDS} tasks, got {len(states)}")
    fold = np.arange(len(states)) % FOLDS
    answers = np.empty(len(states), int)
    for k in range(FOLDS):
        weights = _fit(states[fold != k], live[fold != k], ports)
        answers[fold == k] = _scores(states[fold == k], weights).argmax(axis=1)
    return answers


def _fit(states: np.ndarray, live: np.ndarray, ports: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), scale (D,), slopes (D, P) and offset (P,) of the probe."""
    x = states.astype(np.float64)
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    x = (x - mean) / scale
    y = np.eye(ports)[live]
    penalty = RIDGE * len(x) * np.eye(x.shape[1])
    return mean, scale, np.linalg.solve(x.T @ x + penalty, x.T @ (y - y.mean(axis=0))), y.mean(axis=0)


def _scores(states: np.ndarray, probe: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    mean, scale, slopes, offset = probe
    scores: np.ndarray = (states - mean) / scale @ slopes + offset
    return scores


def probe_table(trials: Sequence[ProbedTrial], ports: int) -> dict[str, dict[str, Any]]:
    """Per moment, as far as trials had it: the probe's and the belief's own hits, and the ideal observer's rate.

    Returns:
        By a name of MOMENTS: `probe` and `own` (None without query head), each as `scoring.rate`, and `ideal`.
    """
    table: dict[str, dict[str, Any]] = {}
    for name in MOMENTS:
        known = [trial.moments[name] for trial in trials if name in trial.moments]
        if len(known) < FOLDS:
            continue
        live = np.array([moment.live for moment in known])
        answers = probe_answers(np.stack([moment.state for moment in known]), live, ports)
        own = [moment.expected.argmax() == moment.live for moment in known if moment.expected is not None]
        table[name] = {
            "probe": rate([bool(hit) for hit in answers == live]),
            "own": rate([bool(hit) for hit in own]) if own else None,
            "ideal": float(np.mean([moment.ideal for moment in known])),
        }
    return table


def expected_curves(trials: Sequence[ProbedTrial]) -> list[dict[str, list[float]]]:
    """Per episode, step by step, the mean predicted reward of the live port and of the others.

    Only steps that at least a tenth of the trials reached.
    """
    curves: list[dict[str, list[float]]] = []
    for episode in range(max((len(trial.expected) for trial in trials), default=0)):
        parts = [trial.expected[episode] for trial in trials if episode < len(trial.expected)]
        longest = max(len(live) for live, _ in parts)
        steps = [step for step in range(longest) if sum(len(live) > step for live, _ in parts) >= len(trials) / 10]
        curves.append(
            {
                name: [float(np.mean([part[side][step] for part in parts if len(part[side]) > step])) for step in steps]
                for side, name in enumerate(("live", "others"))
            }
        )
    return curves
