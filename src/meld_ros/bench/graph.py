"""`meld bench graph`: lockstep over DDS beside its bound, and what each node keeps in memory.

The bound of a step is what its messages cost in a ring of three processes that compute nothing (ring.py), plus what its
computation costs in one process. All three are measured by turns.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from meld_core.bench.figures import BenchError, Figure, Goal, Setup
from meld_core.config import Config, load_config
from meld_core.rollout import collect
from meld_core.schedule import held_out_plans
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.trial_file import decode_trial
from meld_core.weights import save_weights
from meld_ros.commands.training import require_ros
from meld_ros.domain import own_domain
from meld_ros.graph import Options, environment, render
from meld_ros.supervisor import Supervisor

_PATIENCE = 120.0
"""Longest the ring may take [s]."""
_LOOK = 0.1
SMALL_RUN = (
    "train.trials=6", "train.demonstrations=4", "learner.update_every=1", "learner.model_updates=5",
    "learner.ac_updates=5", "learner.pretrain_model_updates=5", "learner.pretrain_ac_updates=5",
)  # fmt: skip
"""A training whose nodes reach the memory that they need, with the networks and pictures of the default run."""


class NoTrials:
    """A replay that holds nothing."""

    trials = ()


def measure(setup: Setup) -> Iterator[Figure]:
    """Steps per second in lockstep against the bound; then peak memory per node."""
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
    setup.tell("peak memory of every node in a training")
    for node, megabytes in peak_memory(load_config(overrides=SMALL_RUN)).items():
        values = {f"graph.{node}.peak_rss_mb": round(megabytes, 1)}
        yield Figure(what=f"peak memory of {node}_node", unit="MB", median=megabytes, values=values)


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

    with _run_folder(config) as folder:
        save_weights(folder.weights, Learner(config, NoTrials(), folder.name).weights())
        _supervise("eval", config, folder)
        files = sorted((folder.path / "evaluation" / "pending").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        if len(files) != config.eval.trials:
            raise BenchError(f"the graph gave {len(files)} trials, expected {config.eval.trials}")
        stamps = [path.stat().st_mtime_ns * 1e-9 for path in files]
        steps = [len(decode_trial(path.read_bytes())) - config.task.episodes for path in files]
        return (stamps[-1] - stamps[0]) / sum(steps[1:])


def peak_memory(config: Config) -> dict[str, float]:
    """Most resident memory of every node [MB] over a whole training."""
    with _run_folder(config) as folder:
        return _supervise("train", config, folder)


@contextlib.contextmanager
def _run_folder(config: Config) -> Iterator[RunFolder]:
    with tempfile.TemporaryDirectory(prefix="meld-bench-") as name:
        yield RunFolder(Path(name) / "bench").create(config)


def _supervise(mode: str, config: Config, folder: RunFolder) -> dict[str, float]:
    """Run a graph to its end; peak memory of its nodes [MB]."""
    with own_domain() as domain:
        processes = render(mode, config, Options(folder=folder.path))
        env = environment(folder.path, domain)
        supervisor = Supervisor(processes, env, folder.path / "logs", quiet=True)
        peaks: dict[str, float] = {}
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(supervisor, peaks, ended), daemon=True)
        outcome = supervisor.run(watcher.start)
        ended.set()
        watcher.join()
    if not outcome.finished:
        raise BenchError(f"the graph did not come to its end: {outcome.reason}")
    return peaks


def _watch(supervisor: Supervisor, peaks: dict[str, float], ended: threading.Event) -> None:
    while not ended.wait(_LOOK):
        for node, pid in supervisor.process_ids.items():
            peaks[node] = max(peaks.get(node, 0.0), peak_rss(pid))


def peak_rss(pid: int) -> float:
    """Most resident memory of a process so far [MB]; 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0
