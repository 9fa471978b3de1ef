"""`meld bench sim`: control steps per second of the simulated bench, alone and as whole trials, over processes."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator

import gymnasium
import numpy as np

from meld_core.bench.figures import Figure, Setup
from meld_core.config import Config, load_config
from meld_core.evaluation.workers import Job, collect_in_processes
from meld_core.kinematics import ArmKinematics
from meld_core.rewards import make_detector
from meld_core.rollout import collect
from meld_core.schedule import held_out_plans
from meld_core.sim.arm import POINTING_DOWN
from meld_core.sim.environment import InsertionEnvironment
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks
from meld_core.threads import one_thread

_ROUNDS = 3


def measure(setup: Setup) -> Iterator[Figure]:
    """Parts on one core by CPU time; processes by wall time, one and two by turns."""
    config = load_config(overrides=["eval.greedy=false"])
    steps = 20 if setup.quick else 300
    setup.tell("inverse kinematics")
    yield _rate("ik_targets_per_s", "inverse kinematics, one core", _per_cpu_second(steps, _kinematics()), "targets/s")
    for look, name, what in (
        (False, "steps_per_s_without_pictures", "kinematics and physics, one core"),
        (True, "steps_per_s", "the same with two views, detector view and its judgement"),
    ):
        setup.tell(what)
        with contextlib.closing(SimRobot(config)) as robot:
            yield _rate(name, what, _per_cpu_second(steps, _stepper(robot, config, look)))
    setup.tell("whole trials in one process")
    yield _rate("trial_steps_per_s", "whole trials with belief filter and actor, one core", _trials(config, setup))
    yield from _over_processes(config, setup)
    yield from _vector_environments(config, setup)


def _rate(name: str, what: str, value: float, unit: str = "steps/s") -> Figure:
    return Figure(what=what, unit=unit, median=value, values={f"sim.{name}": round(value, 1)})


def _per_cpu_second(count: int, act: Callable[[], object]) -> float:
    """Calls per second of CPU time, whatever else the machine does; the median of three rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(count):
            act()
        rounds.append(count / (time.process_time() - began))
    return float(np.median(rounds))


def _stepper(robot: SimRobot, config: Config, look: bool) -> Callable[[], None]:
    """One random control step, with or without pictures and detector."""
    detector, rng = make_detector(config.reward), np.random.default_rng(0)
    robot.connect()
    robot.set_task(make_tasks(config.task).sample("train", 0))
    robot.reset()

    def step() -> None:
        robot.apply(rng.uniform(-1, 1, 3).astype(np.float32))
        robot.wait()
        state = robot.observe()
        if look:
            detector(robot.views(), state)

    step()
    return step


def _kinematics() -> Callable[[], object]:
    """One target, a step away from the last."""
    arm, rng, down = ArmKinematics(), np.random.default_rng(0), np.array(POINTING_DOWN)
    seed = arm.inverse(np.array([0.30, 0.0, 0.08]), down)
    return lambda: arm.inverse(np.array([0.30, 0.0, 0.08]) + rng.uniform(-0.02, 0.02, 3), down, seed)


@one_thread()
def _trials(config: Config, setup: Setup) -> float:
    """The agent is untrained, so that every episode runs to its horizon; the networks have the default sizes."""
    list(collect(config, None, held_out_plans(config, 1, 0)))  # compiles and caches what is compiled once
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        plans = held_out_plans(config, 1 if setup.quick else 6, 1)
        steps = sum(len(trial) - config.task.episodes for trial in collect(config, None, plans))
        rounds.append(steps / (time.process_time() - began))
    return float(np.median(rounds))


def _over_processes(config: Config, setup: Setup) -> Iterator[Figure]:
    """Trials by the worker processes that evaluations use; the clock runs from the first trial to the last."""
    trials = 3 if setup.quick else 12
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(1 if setup.quick else _ROUNDS):
        for workers, found in rates.items():
            setup.tell(f"whole trials by {workers} worker process{'es' if workers > 1 else ''}, round {number + 1}")
            job = Job(config, None, held_out_plans(config, trials * workers, 1), False, "meld_core.rollout:collect")
            found.append(_wall_rate(job, workers, config.task.episodes))
    one = float(np.median(rates[1]))
    yield _rate("workers_1_steps_per_s", "whole trials, 1 worker process, wall time", one)
    two, share = float(np.median(rates[2])), float(np.median(np.array(rates[2]) / np.array(rates[1]))) / 2
    values = {"sim.workers_2_steps_per_s": round(two, 1), "sim.workers_2_efficiency": round(share, 3)}
    what = "whole trials, 2 worker processes (bound: twice one)"
    yield Figure(what=what, unit="steps/s", median=two, values=values, fraction_of_bound=share)


def _wall_rate(job: Job, workers: int, episodes: int) -> float:
    stamps, steps = [], []
    for _, trial in collect_in_processes(job, workers):
        stamps.append(time.perf_counter())
        steps.append(len(trial) - episodes)
    return sum(steps[workers:]) / max(1e-9, stamps[-1] - stamps[workers - 1])


def _vector_environments(config: Config, setup: Setup) -> Iterator[Figure]:
    """The registered environment in gymnasium's vector forms, random actions, wall time, by turns."""
    steps, make = 10 if setup.quick else 150, functools.partial(InsertionEnvironment, config)
    makers = {
        "vector_sync_1": lambda: gymnasium.vector.SyncVectorEnv([make]),
        "vector_async_1": lambda: gymnasium.vector.AsyncVectorEnv([make], context="spawn"),
        "vector_async_2": lambda: gymnasium.vector.AsyncVectorEnv([make] * 2, context="spawn"),
    }
    rates: dict[str, list[float]] = {name: [] for name in makers}
    setup.tell("gymnasium vector environments")
    with contextlib.ExitStack() as opened:
        environments = {name: opened.enter_context(contextlib.closing(makes())) for name, makes in makers.items()}
        for number in range(1 if setup.quick else _ROUNDS):
            for name, environment in environments.items():
                environment.reset(seed=number)
                began = time.perf_counter()
                for _ in range(steps):
                    environment.step(environment.action_space.sample())
                rates[name].append(steps * environment.num_envs / (time.perf_counter() - began))
    one, two = np.array(rates["vector_sync_1"]), np.array(rates["vector_async_2"])
    yield _rate("vector_sync_1_steps_per_s", "gymnasium vector, 1 environment in this process", float(np.median(one)))
    median = float(np.median(rates["vector_async_1"]))
    yield _rate("vector_async_1_steps_per_s", "gymnasium vector, 1 environment in a process of its own", median)
    share = float(np.median(two / one)) / 2
    values = {"sim.vector_async_2_steps_per_s": round(float(np.median(two)), 1)}
    values |= {"sim.vector_async_2_efficiency": round(share, 3)}
    what = "gymnasium vector, 2 environments in 2 processes (bound: twice one here)"
    yield Figure(what=what, unit="steps/s", median=float(np.median(two)), values=values, fraction_of_bound=share)
