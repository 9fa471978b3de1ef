"""Roll an agent in order to probe its beliefs."""

from __future__ import annotations

import dataclasses
from typing import Any

from meld_core.config import Config
from meld_core.evaluate import ROLLOUT, OnTrial, evaluate
from meld_core.evaluation.probes import FOLDS, ProbeError
from meld_core.reporting.belief_study import BeliefStudy
from meld_core.types import Trial
from meld_core.weights import Weights


def run_probes(
    config: Config,
    weights: Weights,
    trials: int,
    *,
    split: str = "validation",
    on_trial: OnTrial | None = None,
    collect: str = ROLLOUT,
) -> dict[str, Any]:
    """Roll an agent on tasks of a split, with its belief carried and cleared, and probe its beliefs.

    Args:
        config: The run's config.
        weights: Whose beliefs.
        trials: Tasks.
        split: Of these tasks.
        on_trial: Told of every finished trial, twice per task.
        collect: Where trials come from, 'module:function'.

    Returns:
        See `belief_study.probes_of`.

    Raises:
        ProbeError: where there are fewer tasks than a probe needs.
        EvaluationError: where a worker fails.
        WeightsError: where the weights do not fit the config.
    """
    if trials < FOLDS:
        raise ProbeError(f"a probe of {FOLDS} folds needs at least {FOLDS} tasks, got {trials}; ask for more trials")
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, split=split))
    study = BeliefStudy(config, weights)
    for clear, keep in ((False, study.carried), (True, study.cleared)):

        def count(index: int, trial: Trial, keep: OnTrial = keep) -> None:
            keep(index, trial)
            if on_trial is not None:
                on_trial(index, trial)

        processes, seed = min(config.eval.processes, trials), config.eval.task_seed
        evaluate(
            config, weights, trials, seed, clear_belief=clear, processes=processes, on_trial=count, collect=collect
        )
    probes = study.probes()
    assert probes is not None
    return probes
