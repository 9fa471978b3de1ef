"""`meld bench graph`: lockstep over DDS beside its bound; realtime at several rates; what each node keeps in memory.

The bound of a step is what its messages cost in a ring of three processes that compute nothing (ring.py), plus what its
computation costs in one process. All three are measured by turns.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from meld_core.bench.figures import BenchError, Figure, Goal, Setup
from meld_core.config import Config, load_config
from meld_core.rollout import collect
from meld_core.schedule import held_out_plans
from meld_core.storage.trial_file import decode_trial
from meld_core.weights import save_weights
from meld_ros.bench import realtime
from meld_ros.bench.running import run_folder, supervise
from meld_ros.commands.training import require_ros
from meld_ros.domain import own_domain
from meld_ros.graph import environment

_PATIENCE = 120.0
"""Longest the ring may take [s]."""


class NoTrials:
    """A replay that holds nothing."""

    trials = ()


def measure(setup: Setup) -> Iterator[Figure]:
    """Steps per second in lockstep against the bound; then realtime, and peak memory per node."""
    require_ros()
    trials, rounds = (2, 1) if setup.quick else (8, 3)
    config = load_config(overrides=[f"eval.trials={trials}", "eval.greedy=false"])
    seconds: dict[str, list[float]] = {"ring": [], "compute": [], "graph": []}
    for number in range(rounds):
        setup.tell(f"messages alone, round {number + 1} of {rounds}")
        seconds["ring"].append(ring_seconds(100 if setup.quick else 1000))
        setup.tell(f"computation alone, round {number + 1} of {rounds}")
        seconds["compute"].append(compute_seconds(config))
        setup.tell(f"the graph in lockstep, round {number + 1} of {rounds}")
        seconds["graph"].append(graph_seconds(config))
    yield from _lockstep(seconds)
    yield from realtime.measure(setup)


def _lockstep(seconds: dict[str, list[float]]) -> Iterator[Figure]:
    for name, what in (("ring", "ring of the same messages, nothing computed"), ("compute", "computation alone")):
        rate = 1.0 / float(np.median(seconds[name]))
        values = {f"graph.{name}_steps_per_s": round(rate, 1)}
        yield Figure(what=what, unit="steps/s", median=rate, values=values)
    rate = 1.0 / float(np.median(seconds["graph"]))
    bound = np.array(seconds["ring"]) + np.array(seconds["compute"])
    share = float(np.median(bound / np.array(seconds["graph"])))
    values = {"graph.lockstep_steps_per_s": round(rate, 1), "graph.lockstep_fraction_of_bound": round(share, 3)}
    goal = Goal(text="at least 0.7 of the bound", met=share >= 0.7)
    what = "lockstep over DDS: robot, reward, policy"
    yield Figure(what=what, unit="steps/s", median=rate, values=values, fraction_of_bound=share, goal=goal)


def ring_seconds(steps: int) -> float:
    """Seconds per step of the ring.

    Raises:
        BenchError: where it does not turn.
    """
    with tempfile.TemporaryDirectory(prefix="meld-bench-") as folder, own_domain() as domain:
        env = environment(Path(folder), domain) | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "meld_ros.bench.ring"]
        others = [subprocess.Popen([*command, role, str(steps)], env=env) for role in ("robot", "reward")]
        try:
            done = subprocess.run(
                [*command, "policy", str(steps)], env=env, capture_output=True, text=True, timeout=_PATIENCE, check=True
            )
        except subprocess.SubprocessError as error:
            raise BenchError(f"the ring of messages did not turn: {error}") from None
        finally:
            for process in others:
                process.terminate()
                process.wait()
    return float(done.stdout.split()[-1]) / steps


def compute_seconds(config: Config) -> float:
    """Wall seconds per step of whole trials in this process; the first, which compiles and caches, does not count."""
    stamps, steps = [], []
    for trial in collect(config, None, held_out_plans(config, config.eval.trials, config.eval.task_seed)):
        stamps.append(time.perf_counter())
        steps.append(len(trial) - config.task.episodes)
    return (stamps[-1] - stamps[0]) / sum(steps[1:])


def graph_seconds(config: Config) -> float:
    """The same for the graph, by the times at which trials were on disk. Untrained weights, as in one process."""
    from meld_core.learner import Learner

    with run_folder(config) as folder:
        save_weights(folder.weights, Learner(config, NoTrials(), folder.name).weights())
        outcome, _ = supervise("eval", config, folder, lambda *_: None)
        if not outcome.finished:
            raise BenchError(f"the graph did not come to its end: {outcome.reason}")
        files = sorted((folder.evaluation / "pending").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        if len(files) != config.eval.trials:
            raise BenchError(f"the graph gave {len(files)} trials, expected {config.eval.trials}")
        stamps = [path.stat().st_mtime_ns * 1e-9 for path in files]
        steps = [len(decode_trial(path.read_bytes())) - config.task.episodes for path in files]
        return (stamps[-1] - stamps[0]) / sum(steps[1:])
