"""Settings of a run: collection, schedule, evaluation."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """The run: how many trials, from whom."""

    seed: int = setting(0, "Seed of tasks, weights and exploration.", low=0)
    trials: int = setting(600, "Trials of the run, demonstrations included.", low=1)
    demonstrations: int = setting(60, "First trials, by the scripted search.", low=0)
    demonstrator: str = setting(
        "script", "Who gives the demonstrations: the scripted search, or a person.", choices=("script", "person")
    )
    random_trials: int = setting(0, "Then this many trials of uniformly random actions.", low=0)
    script_noise: float = setting(
        0.25,
        "A scripted trial draws the noise on its actions from 0 to this; the clean one is cloned.",
        low=0.0,
        high=2.0,
    )
    lead: int = setting(1, "Trial n starts with weights trained through trial n-lead.", low=1, high=64)
    fixed_data: bool = setting(
        False, "Train on trials that are there from the beginning (`meld train --from-data`); nothing is collected."
    )
    checkpoint_every: int = setting(40, "Trials between checkpoints.", low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyConfig(Section):
    """How the policy process computes."""

    engine: str = setting(
        "torch",
        "What computes belief and action in policy_node: torch, bit for bit as in one process, or ONNX Runtime, an "
        "optional package, in less time and with other last bits.",
        choices=("torch", "onnx"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig(Section):
    """Held-out evaluation at the end of a run."""

    trials: int = setting(200, "Held-out tasks.", low=1)
    task_seed: int = setting(1000, "Seed of the held-out tasks.", low=0)
    split: str = setting("held_out", "Tasks to evaluate on.", choices=("train", "validation", "held_out"))
    greedy: bool = setting(True, "Act with the mean action on the mean belief.")
    clear_belief: bool = setting(False, "Forget the belief between episodes (control).")
    baselines: bool = setting(True, "Also evaluate the untrained agent and the cleared belief on the same tasks.")
    beliefs: bool = setting(True, "Probe the beliefs of the evaluated trials, and show them in report and video.")
    video_trials: int = setting(6, "Held-out trials in the video.", low=0, high=100)
    processes: int = setting(2, "Worker processes; the result does not depend on it.", low=1, high=64)
