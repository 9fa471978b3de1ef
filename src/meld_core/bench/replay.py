"""`meld bench replay`: what 100,000 stored steps cost: disk, memory, opening again, and drawing batches from them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from meld_core.bench.data import copies, demonstrations
from meld_core.bench.figures import BenchError, Figure, Goal, Setup, interleaved
from meld_core.config import load_config
from meld_core.replay import Replay, encode_trial, steps_of

STEPS = 100_000
_REAL = 24
"""Trials that are simulated; the others are copies of them under other numbers."""
_OVERRIDES = ("learner.update_every=1000000", "learner.threads=1", "learner.device=cpu")
"""Nothing is trained while trials are taken in."""


def measure(setup: Setup) -> Iterator[Figure]:
    """Fill, then open in a fresh process, as a resumed trainer does."""
    wanted = 500 if setup.quick else STEPS
    with tempfile.TemporaryDirectory(prefix="meld-bench-") as name:
        folder = Path(name) / "replay"
        yield from _filled(setup, folder, wanted)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
        goal = Goal(text="under 3 GB", met=size < 3.0)
        values = {"replay.disk_gb": round(size, 3), "replay.steps": wanted}
        yield Figure(what=f"{wanted} steps on disk", unit="GB", median=size, values=values, goal=goal)
        setup.tell("opening it in a fresh process")
        yield from _opened(folder, wanted, setup)


def _filled(setup: Setup, folder: Path, wanted: int) -> Iterator[Figure]:
    """Ingest until there are so many steps; the time per trial must not depend on how many there are already."""
    setup.tell("simulating demonstrations")
    real = demonstrations(load_config(), 4 if setup.quick else _REAL)
    replay, times, told = Replay(folder), [], 0
    for trial in copies(real, 0, wanted):
        if replay.steps >= wanted:
            break
        data = encode_trial(trial)
        began = time.perf_counter()
        replay.ingest(data)
        times.append(1e3 * (time.perf_counter() - began) / steps_of(trial))
        if replay.steps >= told:
            setup.tell(f"storing, {replay.steps} of {wanted} steps")
            told += wanted // 10
    tenth = max(1, len(times) // 10)
    first, last = float(np.median(times[:tenth])), float(np.median(times[-tenth:]))
    values = {"replay.ingest_first_ms_per_step": round(first, 4), "replay.ingest_last_ms_per_step": round(last, 4)}
    goal = Goal(text="flat: last tenth at most 1.5 times the first", met=last <= 1.5 * first)
    what = "storing a step, fsynced, last tenth"
    yield Figure(what=what, unit="ms", median=last, p99=float(np.quantile(times, 0.99)), values=values, goal=goal)


def _opened(folder: Path, wanted: int, setup: Setup) -> Iterator[Figure]:
    found = _in_fresh_process(folder, 3 if setup.quick else 20)
    seconds, memory, times = found["open_s"] + found["convert_s"], found["peak_rss_gb"], found["draws_per_update"]
    values = {f"replay.{name}": round(value, 4) for name, value in found.items()}
    goal = Goal(text="under 10 s", met=seconds < 10.0)
    values["replay.resume_s"] = round(seconds, 3)
    yield Figure(what=f"resume with {wanted} steps", unit="s", median=seconds, values=values, goal=goal)
    goal = Goal(text="under 1.5 GB", met=memory < 1.5)
    what = "peak memory of that process, trials taken in"
    yield Figure(what=what, unit="GB", median=memory, values={}, goal=goal)
    goal = Goal(text="at least 5 times as fast as consumed", met=times >= 5.0)
    what = "batches drawn in the time of one model update"
    yield Figure(what=what, unit="", median=times, values={}, goal=goal)


def _in_fresh_process(folder: Path, rounds: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_open, args=(folder, rounds, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        with contextlib.suppress(EOFError):
            return {str(name): float(value) for name, value in json.loads(ours.recv_bytes()).items()}
        raise BenchError("the process that was to open the replay died")
    finally:
        process.kill()
        process.join()


def _open(folder: Path, rounds: int, connection: Connection) -> None:
    from meld_core.batch import make_batch
    from meld_core.learner import Learner

    config = load_config(overrides=_OVERRIDES)
    began, began_cpu = time.perf_counter(), time.process_time()
    replay = Replay(folder)
    opened, opened_cpu = time.perf_counter(), time.process_time()
    learner = Learner(config, replay)
    learner.train_after(replay.trials[-1].meta.id.counter)
    converted, converted_cpu, memory = time.perf_counter(), time.process_time(), _peak_rss_gb()
    device, count = learner.networks.log_temperature.device, config.learner.batch_trials
    acts: dict[str, Callable[[], object]] = {
        "draw": lambda: make_batch(learner._draw(count), device),
        "update": learner.update_model,
    }
    interleaved(acts, 1)
    times = interleaved(acts, rounds)
    update, draw = times["update"].median, times["draw"].median
    found = {
        "open_s": opened - began,
        "convert_s": converted - opened,
        "open_cpu_s": opened_cpu - began_cpu,
        "convert_cpu_s": converted_cpu - opened_cpu,
        "trials": len(replay),
        "peak_rss_gb": memory,
        "draw_ms": draw,
        "model_update_ms": update,
        "draws_per_update": float(np.median(times["update"].values / times["draw"].values)),
        "peak_rss_with_updates_gb": _peak_rss_gb(),
    }
    connection.send_bytes(json.dumps(found).encode())


def _peak_rss_gb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
