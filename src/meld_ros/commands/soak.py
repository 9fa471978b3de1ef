"""`meld bench soak`: the whole graph for a long time; memory, file handles and threads stay nearly flat.

The trainer grows by design: it keeps every trial, as it came and as the learner uses it. What that takes is measured
afterwards, by opening the replay in a process of its own, and subtracted from the trainer's memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from meld_core.bench.figures import BenchError, Figure, Goal, Setup
from meld_core.bench.proc import Use, use_of
from meld_core.bench.trend import Trend, rises, trend
from meld_core.config import dump_config, load_config
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.verify import verify
from meld_ros.commands.durability import node_pids
from meld_ros.commands.training import require_ros
from meld_ros.share import share_dir

LIMIT = 30.0
"""The upper end of the 95 % interval of the memory's slope must lie below this [MB/h]."""
OVERRIDES = (
    "task.horizon=20", "sim.image_size=16", "train.trials=1000000", "train.demonstrations=10",
    "train.checkpoint_every=50", "learner.update_every=2", "storage.min_free=1", "storage.reserve=0",
)  # fmt: skip
"""On top of config/smoke.yaml: small trials that never end."""
_WARM_UP = 0.25
"""Share of the time that is not counted: caches fill, the allocator settles."""
_PERIOD = 1.0
_PATIENCE = 120.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """All nodes at one moment."""

    hours: float
    trials: int
    """In the replay."""
    nodes: dict[str, Use]


def measure(setup: Setup) -> Iterator[Figure]:
    """See the module."""
    require_ros()
    seconds = 60.0 if setup.quick else 3600.0 * setup.hours
    with tempfile.TemporaryDirectory(prefix="meld-soak-") as place:
        folder = RunFolder(Path(place) / "runs" / "soak")
        graph = _start(Path(place))
        try:
            samples = list(_watch(graph, folder, seconds, setup.tell))
        finally:
            _stop(graph)
        setup.tell("reading what was stored")
        per_trial = replay_cost(folder)
        yield from _figures(samples[int(_WARM_UP * len(samples)) :], per_trial)
        yield from _data(folder, samples, per_trial)


def _start(place: Path) -> subprocess.Popen[bytes]:
    config = load_config([share_dir() / "config" / "smoke.yaml"], OVERRIDES)
    (place / "soak.yaml").write_text(dump_config(config), encoding="utf-8")
    command = [sys.executable, "-m", "meld_ros.cli", "launch", "train", "config:=soak.yaml", "run:=soak"]
    with (place / "graph.log").open("wb") as log:
        return subprocess.Popen(command, cwd=place, stdout=log, stderr=subprocess.STDOUT)


def _stop(graph: subprocess.Popen[bytes]) -> None:
    graph.send_signal(signal.SIGINT)
    try:
        graph.wait(_PATIENCE)
    finally:
        graph.kill()


def _watch(
    graph: subprocess.Popen[bytes], folder: RunFolder, seconds: float, tell: Callable[[str], None]
) -> Iterator[Sample]:
    """A sample a second, from the moment at which the policy acts."""
    nodes = _nodes_once_they_act(graph, folder)
    began = now = time.monotonic()
    while now - began < seconds:
        uses = {name: use_of(pid) for name, pid in nodes.items()}
        if graph.poll() is not None or None in uses.values():
            raise BenchError(f"a node ended: {_last_words(folder)}")
        trials = sum(1 for _ in os.scandir(folder.replay))
        yield Sample((now - began) / 3600, trials, {name: use for name, use in uses.items() if use})
        tell(f"{(now - began) / 60:.1f} of {seconds / 60:.0f} min, {trials} trials")
        _rest(graph, _PERIOD - (time.monotonic() - now))
        now = time.monotonic()


def _nodes_once_they_act(graph: subprocess.Popen[bytes], folder: RunFolder) -> dict[str, int]:
    end = time.monotonic() + _PATIENCE
    while not list(folder.weights.glob("*")):
        if graph.poll() is not None or time.monotonic() > end:
            raise BenchError(f"the graph did not come to train: {_last_words(folder)}")
        _rest(graph, _PERIOD)
    return {**node_pids(folder), "supervisor": graph.pid}


def _rest(graph: subprocess.Popen[bytes], seconds: float) -> None:
    """Until the next look, or the graph's end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        graph.wait(max(0.0, seconds))


def _last_words(folder: RunFolder) -> str:
    log = folder.path.parents[1] / "graph.log"
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


def replay_cost(folder: RunFolder) -> float:
    """Memory that a trainer keeps per trial [MB]. Raises BenchError where the replay cannot be opened."""
    command = [sys.executable, "-m", "meld_core.bench.replay_cost", str(folder.path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the replay {folder.replay} could not be opened: {' '.join(done.stderr.split())[-300:]}")
    return float(done.stdout)


def _figures(samples: Sequence[Sample], per_trial: float) -> Iterator[Figure]:
    """Per node the slope of its memory, and whether handles or threads became more."""
    hours = [sample.hours for sample in samples]
    for name in sorted(samples[0].nodes):
        uses = [sample.nodes[name] for sample in samples]
        held = [per_trial * sample.trials * (name == "trainer") for sample in samples]
        found = trend(hours, [use.memory - of_replay for use, of_replay in zip(uses, held, strict=True)])
        goal = Goal(text=f"upper end below {LIMIT:g}", met=found.high < LIMIT, promise=True)
        yield Figure(
            what=f"{name}: memory, upper end of 95 %", unit="MB/h", median=found.high, goal=goal,
            values=_slope_values(name, found, uses),
        )  # fmt: skip
        counts = {"file handles": [use.files for use in uses], "threads": [use.threads for use in uses]}
        for what, values in counts.items():
            flat = Goal(text="flat", met=not rises(values), promise=True)
            key = f"soak.{name}.{what.replace(' ', '_')}"
            yield Figure(
                what=f"{name}: {what}", unit="", median=values[-1], goal=flat,
                values={f"{key}_first": values[0], f"{key}_last": values[-1]},
            )  # fmt: skip


def _slope_values(name: str, found: Trend, uses: Sequence[Use]) -> dict[str, float]:
    values = {"slope": found.slope, "slope_low": found.low, "slope_high": found.high}
    rates = {f"soak.{name}.{key}_mb_per_hour": round(value, 2) for key, value in values.items()}
    return rates | {f"soak.{name}.memory_mb": round(uses[-1].memory, 1)}


def _data(folder: RunFolder, samples: Sequence[Sample], per_trial: float) -> Iterator[Figure]:
    """What was collected meanwhile must all be there."""
    report = verify(folder.path)
    bad = len(report.lost) + len(report.duplicates) + len(report.problems)
    minutes = round(60 * (samples[-1].hours - samples[0].hours), 1)
    values = {
        "soak.minutes": minutes, "soak.trials": report.trials, "soak.steps": report.steps,
        "soak.lost": len(report.lost),
        "soak.duplicated": len(report.duplicates), "soak.damaged_files": len(report.problems),
        "soak.replay_kb_per_trial": round(1000 * per_trial, 1),
    }  # fmt: skip
    goal = Goal(text="none", met=bad == 0, promise=True)
    yield Figure(what="episodes lost, trials doubled, files damaged", unit="", median=bad, values=values, goal=goal)
