"""RL² (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763): a recurrent policy trained by PPO.

The rival without a latent state model: sb3-contrib's RecurrentPPO on `meld/InsertionTrial-v0`, on the same train tasks'
split, pictures of the same size through the same encoder, with the same discount, reward in the observation, and
no demonstrations, relabelling or taught positions. Its policy is evaluated in the process that trained it, behind the
same driver and gate as our agent; nothing but JSON and raw trials is written.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meld_core.baselines.raw_trials import keep, rescore, run_rival
from meld_core.config import Config
from meld_core.evaluate import OnProgress
from meld_core.schedule import TrialPlan, held_out_plans
from meld_core.threads import one_thread
from meld_core.types import Trial

if TYPE_CHECKING:
    from meld_core.baselines.recurrent_ppo import Rl2Policy


class MissingPackageError(RuntimeError):
    """An optional package is needed and not here; the text says how to get it."""


def run_rl2(
    config: Config,
    steps: int,
    seed: int,
    folder: Path,
    *,
    trials: int,
    task_seed: int,
    greedy: bool | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Train RL² and evaluate what came out.

    Args:
        config: `rl2` has its settings, `eval.split` names the tasks of the evaluation.
        steps: Control steps of training; at least as many are made, in whole rollouts.
        seed: Of tasks, weights and exploration.
        folder: Of the raw trials of the evaluation; must not exist yet.
        trials: Tasks of the evaluation; task i is number `task_seed + i` of its split.
        task_seed: First task.
        greedy: Evaluate the mean action; None for `eval.greedy`.
        on_progress: Told of progress in both phases.

    Returns:
        See `raw_trials.rescore`; `training` (`Rl2Policy.training`) stands beside it.

    Raises:
        MissingPackageError: without sb3-contrib.
        RivalError: where the folder exists.
    """
    policy = train_rl2(config, steps, seed, on_progress)
    return evaluate_rl2(config, policy, trials, task_seed, folder, greedy=greedy, on_progress=on_progress)


def train_rl2(
    config: Config,
    steps: int,
    seed: int,
    on_progress: OnProgress | None = None,
    *,
    watch: Callable[[int], bool] | None = None,
) -> Rl2Policy:
    """Train RL² on the train tasks, on one torch thread.

    Args:
        config: `rl2` has its settings.
        steps: Control steps; at least as many are made, in whole rollouts.
        seed: Of tasks, weights and exploration.
        on_progress: Told of progress after every rollout.
        watch: Asked after every rollout, with the steps made so far, whether to end here.

    Raises:
        MissingPackageError: without sb3-contrib.
    """
    require_sb3()
    from meld_core.baselines.recurrent_ppo import LearningCurve, train

    with one_thread():
        return train(config, steps, seed, LearningCurve(config.task.episodes, steps, on_progress, watch))


def collect_rl2(
    config: Config, policy: Rl2Policy, plans: Iterable[TrialPlan], clear_belief: bool = False
) -> Iterator[Trial]:
    """Trials of a trained policy, on one torch thread; `plan.greedy` says how it acts."""
    with one_thread():
        yield from run_rival(config, policy, plans, "rl2", clear_belief)


def evaluate_rl2(
    config: Config,
    policy: Rl2Policy,
    trials: int,
    task_seed: int,
    folder: Path,
    *,
    greedy: bool | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Run a trained policy on held-out tasks, keep its raw trials, and score these: see `run_rl2`."""
    greedy = config.eval.greedy if greedy is None else greedy
    plans = [dataclasses.replace(plan, greedy=greedy) for plan in held_out_plans(config, trials, task_seed)]
    keep(collect_rl2(config, policy, plans), folder, trials, on_progress)
    certificate = rescore(config, folder, greedy=greedy, command=f"run_rl2 of {policy.training['env_steps']} steps")
    return {**certificate, "training": policy.training}


def require_sb3() -> None:
    """Raise MissingPackageError where sb3-contrib is not installed; nothing is imported."""
    if importlib.util.find_spec("sb3_contrib") is None:
        raise MissingPackageError(
            "RL² needs sb3-contrib, which is not here; install it: pip install 'meld_ros[baselines]'"
        )
