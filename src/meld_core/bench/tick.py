"""`meld bench tick`: observation in, action out, as `Driver.tick` does it in the policy process, batch 1."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from meld_core.agent import Agent
from meld_core.bench.figures import Figure, Goal, Samples, Setup, timed
from meld_core.bench.load import busy_learner
from meld_core.config import Config, load_config
from meld_core.driver import Driver
from meld_core.schedule import Schedule
from meld_core.types import Observation, Reward, RobotState, Trial, TrialMeta

SHAPES = {
    "64x64": ["sim.views=[wrist]", "model.views=[wrist]", "model.shrink=1"],
    "64x128": ["model.shrink=1"],
    "default": [],
}
"""Name of a picture → settings. Two views of 64x64 are stacked; by default the model averages them to half the size."""


class NoSink:
    """Keeps nothing: what is measured is the tick."""

    def add_episode(
        self, meta: TrialMeta, episode: int, rows: Mapping[str, np.ndarray], extras: Mapping[str, np.ndarray]
    ) -> None:
        """Forget it."""

    def close_trial(self, meta: TrialMeta) -> Trial | None:
        """There is none."""
        return None

    def note(self, event: str, **facts: Any) -> None:
        """Forget it."""


def ticker(config: Config) -> Callable[[], object]:
    """One tick of trials that never succeed, episode after episode, on pictures that change."""
    rng = np.random.default_rng(0)
    size, views = config.sim.image_size, len(config.sim.views)
    images = rng.integers(0, 256, (16, size * views, size, 3), np.uint8)
    driver = Driver(config, Agent(config), NoSink(), run="bench", boot="0" * 32)
    plan = dataclasses.replace(Schedule(config).plan(config.train.demonstrations), index=0)
    reward, executed = Reward(0.0, False, 0.1), np.zeros(3, np.float32)
    state = RobotState(np.zeros(6), np.zeros(6), np.array([0.3, 0.0, 0.08]), np.array([0.0, 0.0, 0.0, 1.0]), 1)
    ticks, begins = 0, True

    def tick() -> object:
        nonlocal ticks, begins
        ticks += 1
        if driver.trial_over:
            driver.begin_trial(plan)
        observation = Observation(images[ticks % 16], state, reward, ticks)
        action = driver.tick(observation, None if begins else executed)
        begins = action is None
        return action

    return tick


def measure(setup: Setup) -> Iterator[Figure]:
    """Alone, then while a learner saturates another core."""
    count = 50 if setup.quick else 2000
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as after:
        after.callback(torch.set_num_threads, threads)
        ticks = {shape: ticker(load_config(overrides=settings)) for shape, settings in SHAPES.items()}
        for shape, tick in ticks.items():
            setup.tell(f"{shape}, alone")
            yield _figure(shape, "", timed(tick, count, warm_up=count // 10))
            yield _cpu_time(shape, timed(tick, count, clock=time.thread_time_ns))
        setup.tell("starting a learner beside it")
        after.enter_context(busy_learner())
        for shape, tick in ticks.items():
            setup.tell(f"{shape}, beside a learner")
            yield _figure(shape, "_under_load", timed(tick, count, warm_up=count // 10))


def _cpu_time(shape: str, samples: Samples) -> Figure:
    """What a tick takes of its core: no other process's turn is in it, though other processes' use of the caches is."""
    place = "tick" if shape == "default" else f"tick.{shape}"
    values = {f"{place}.cpu_p50_ms": round(samples.median, 4), f"{place}.cpu_p10_ms": round(samples.quantile(0.1), 4)}
    what = f"tick, picture {shape}, CPU time"
    return Figure(what=what, unit="ms", median=samples.median, p99=samples.quantile(0.99), values=values)


def _figure(shape: str, load: str, samples: Samples) -> Figure:
    place = "tick" if shape == "default" else f"tick.{shape}"
    quantiles = {"p50": samples.median, "p99": samples.quantile(0.99), "p999": samples.quantile(0.999)}
    values = {f"{place}.{name}_ms{load}": round(value, 4) for name, value in quantiles.items()}
    goal = Goal(text="p99 at most 5 ms", met=quantiles["p99"] <= 5.0) if load else None
    goal = goal or Goal(text="p50 at most 1 ms", met=samples.median <= 1.0)
    what = f"tick, picture {shape}, {'beside a learner' if load else 'alone'}"
    return Figure(what=what, unit="ms", median=samples.median, p99=quantiles["p99"], values=values, goal=goal)
