"""`meld bench tick`: observation in, action out, as `Driver.tick` does it in the policy process, batch 1."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from meld_core.agent import Agent, ReadyWeights
from meld_core.bench.data import Store
from meld_core.bench.figures import BenchError, Figure, Goal, Samples, Setup, timed
from meld_core.bench.load import busy_learner
from meld_core.bench.proc import use_of
from meld_core.config import Config, load_config, packages_missing_for_onnx
from meld_core.driver import Driver
from meld_core.garbage import keep_collections_short
from meld_core.learner import Learner
from meld_core.schedule import Schedule
from meld_core.trust.weights_gate import WeightsGate
from meld_core.trust.weights_intake import WeightsIntake
from meld_core.types import Observation, Reward, RobotState, Trial, TrialMeta

SHAPES = {
    "64x64": ["sim.views=[wrist]", "model.views=[wrist]", "model.shrink=1"],
    "64x128": ["model.shrink=1"],
    "default": [],
}
"""Name of a picture → settings. Two views of 64x64 are stacked; by default the model averages them to half the size."""
ONNX = "policy.engine=onnx"


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


class Ticker:
    """One tick per call, of trials that never succeed, episode after episode, on pictures that change."""

    def __init__(self, config: Config) -> None:
        rng = np.random.default_rng(0)
        size, views = config.sim.image_size, len(config.sim.views)
        self._images = rng.integers(0, 256, (16, size * views, size, 3), np.uint8)
        self.agent = Agent(config, compiled=True)
        self.driver = Driver(config, self.agent, NoSink(), run="bench", boot="0" * 32)
        self._plan = dataclasses.replace(Schedule(config).plan(config.train.demonstrations), index=0)
        self._reward, self._executed = Reward(0.0, False, 0.1), np.zeros(3, np.float32)
        self._state = RobotState(
            np.zeros(6), np.zeros(6), np.array([0.3, 0.0, 0.08]), np.array([0.0, 0.0, 0.0, 1.0]), 1
        )
        self._ticks, self._begins = 0, True

    def __call__(self) -> object:
        """Begin a trial where none is under way, then tick."""
        self._ticks += 1
        if self.driver.trial_over:
            self.driver.begin_trial(self._plan)
        observation = Observation(self._images[self._ticks % 16], self._state, self._reward, self._ticks)
        action = self.driver.tick(observation, None if self._begins else self._executed)
        self._begins = action is None
        return action


def measure(setup: Setup) -> Iterator[Figure]:
    """Alone, while new weights come, while a learner saturates another core; then for very long, if asked for."""
    count = 50 if setup.quick else 2000
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.ExitStack() as after:
        after.callback(torch.set_num_threads, threads)
        engines = {"": [], **({} if packages_missing_for_onnx() else {", onnx": [ONNX]})}
        ticks = {
            f"{shape}{engine}": Ticker(load_config(overrides=[*settings, *more]))
            for engine, more in engines.items()
            for shape, settings in SHAPES.items()
        }
        keep_collections_short()  # as policy_node does
        for shape, tick in ticks.items():
            setup.tell(f"{shape}, alone")
            yield _figure(shape, "", timed(tick, count, warm_up=count // 10))
            yield _cpu_time(shape, timed(tick, count, clock=time.thread_time_ns))
        for engine, more in engines.items():
            shape = f"default{engine}"
            setup.tell(f"{shape}, alone, while new weights come")
            yield from swaps(load_config(overrides=more), 2 if setup.quick else 50, shape)
            if setup.ticks:
                yield from long_run(ticks[shape], setup.ticks, shape, setup.tell)
        setup.tell("starting a learner beside it")
        after.enter_context(busy_learner())
        for shape, tick in ticks.items():
            setup.tell(f"{shape}, beside a learner")
            yield _figure(shape, "_under_load", timed(tick, count, warm_up=count // 10))


def swaps(config: Config, count: int, shape: str) -> Iterator[Figure]:
    """Weights arrive as bytes and are made ready beside the ticks; between two trials they are taken.

    A swap is all that the ticking thread does for it: passing the bytes on, fetching what is ready, taking it.
    """
    tick, weights = Ticker(config), Learner(config, Store([]), "bench").weights()
    messages = [dataclasses.replace(weights, version=version).to_bytes() for version in range(count)]
    timed(tick, 100)  # the first ones compile
    intake = WeightsIntake(WeightsGate(config, "bench", compiled=True).admit)
    swapped, readied, meanwhile = [], [], []
    for data in messages:
        began = time.perf_counter_ns()
        intake.put(data)
        spent, taken = time.perf_counter_ns() - began, list[ReadyWeights | ValueError]()
        while not taken:
            meanwhile += timed(tick, 1).values.tolist()
            taken = intake.take()
        readied.append((time.perf_counter_ns() - began) / 1e6)
        while not tick.driver.trial_over:
            tick()
        began = time.perf_counter_ns()
        tick.agent.load(_ready(taken[0]))
        swapped.append((spent + time.perf_counter_ns() - began) / 1e6)
    intake.close()
    yield _swap_figure(shape, *(Samples(np.array(times)) for times in (swapped, readied, meanwhile)))


def _ready(outcome: ReadyWeights | ValueError) -> ReadyWeights:
    if isinstance(outcome, ValueError):
        raise BenchError(f"the weights of the measurement may not act: {outcome}")
    return outcome


def _place(shape: str) -> str:
    """Where the figures of a shape stand: `tick` for the default, `tick.64x128.onnx`."""
    return ".".join(["tick", *(part for part in shape.split(", ") if part != "default")])


def _swap_figure(shape: str, swapped: Samples, readied: Samples, meanwhile: Samples) -> Figure:
    longest, place = float(swapped.values.max()), _place(shape)
    values = {
        f"{place}.weights_swap_ms": round(longest, 4),
        f"{place}.weights_ready_ms": round(readied.median, 2),
        f"{place}.p50_ms_while_weights_come": round(meanwhile.median, 4),
        f"{place}.p99_ms_while_weights_come": round(meanwhile.quantile(0.99), 4),
        f"{place}.max_ms_while_weights_come": round(float(meanwhile.values.max()), 4),
    }
    goal = Goal(text="a swap under 50 ms", met=longest < 50.0)
    what = f"swap of weights, {shape}: what the ticking thread does"
    return Figure(what=what, unit="ms", median=swapped.median, p99=longest, values=values, goal=goal)


def long_run(tick: Callable[[], object], count: int, shape: str, tell: Callable[[str], None]) -> Iterator[Figure]:
    """So many ticks in twenty parts: time of one and memory of the process in the first and in the last part."""
    part, parts, medians, memory = max(1, count // 20), 20, list[float](), list[float]()
    for number in range(parts):
        medians.append(timed(tick, part).median)
        use = use_of(os.getpid())
        memory.append(use.memory if use else float("nan"))
        tell(f"{shape}, {(number + 1) * part} of {count} ticks, {memory[-1]:.0f} MB, median {medians[-1]:.2f} ms")
    growth, place = memory[-1] - memory[0], _place(shape)
    values = {
        f"{place}.long_run_ticks": part * parts,
        f"{place}.long_run_p50_ms_first": round(medians[0], 4),
        f"{place}.long_run_p50_ms_last": round(medians[-1], 4),
        f"{place}.long_run_mb_first": round(memory[0], 1),
        f"{place}.long_run_mb_last": round(memory[-1], 1),
    }
    goal = Goal(text="no growth of memory above 1 MB", met=growth <= 1.0)
    what = f"growth over {part * parts} ticks, {shape}, first to last twentieth"
    yield Figure(what=what, unit="MB", median=growth, values=values, goal=goal)


def _cpu_time(shape: str, samples: Samples) -> Figure:
    """What a tick takes of its core: no other process's turn is in it, though other processes' use of the caches is."""
    place = _place(shape)
    values = {f"{place}.cpu_p50_ms": round(samples.median, 4), f"{place}.cpu_p10_ms": round(samples.quantile(0.1), 4)}
    what = f"tick, picture {shape}, CPU time"
    return Figure(what=what, unit="ms", median=samples.median, p99=samples.quantile(0.99), values=values)


def _figure(shape: str, load: str, samples: Samples) -> Figure:
    place = _place(shape)
    quantiles = {"p50": samples.median, "p99": samples.quantile(0.99), "p999": samples.quantile(0.999)}
    values = {f"{place}.{name}_ms{load}": round(value, 4) for name, value in quantiles.items()}
    goal = Goal(text="p99 at most 5 ms", met=quantiles["p99"] <= 5.0) if load else None
    goal = goal or Goal(text="p50 at most 1 ms", met=samples.median <= 1.0)
    what = f"tick, picture {shape}, {'beside a learner' if load else 'alone'}"
    return Figure(what=what, unit="ms", median=samples.median, p99=quantiles["p99"], values=values, goal=goal)
