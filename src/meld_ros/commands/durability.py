"""`meld bench durability`: kill -9 at random moments, go on, and compare with a run that nobody disturbed.

Runs of the smallest config, some in one process, some as the graph over DDS. Each is killed at moments drawn from a
fixed seed, as fractions of the time that an undisturbed run takes, and resumed until it is finished.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from meld_core.bench.figures import BenchError, Figure, Goal, Setup
from meld_core.config import Config, load_config
from meld_core.storage.audit import audit, damaged_files, halves
from meld_core.storage.run_folder import RunFolder
from meld_core.train import train_in_process
from meld_ros.commands.training import has_ros, run_graph
from meld_ros.graph import Options, render
from meld_ros.share import share_dir

OVERRIDES = ("train.trials=8", "train.checkpoint_every=1", "storage.min_free=1", "storage.reserve=0")
"""Everything is written as often as possible."""
PER_RUN = {"process": 8, "graph": 6}
"""After so many kills a run is left to finish."""
VICTIMS = ("trainer", "policy", "robot", "reward", "supervisor")
PROMISED = {
    "lost": "transitions lost",
    "duplicated": "transitions duplicated",
    "corrupt_loaded": "runs that differ from the undisturbed one in any bit",
    "damaged_files": "files under their final names that could not be read",
}
"""Counts that must be 0."""
_LOOK = 0.02
_PATIENCE = 1200.0
"""A run that has not come to its end by then hangs [s]."""


@dataclasses.dataclass
class Tally:
    """What is counted."""

    runs: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    killed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """By who was killed: `process` for a run in one process, else the node."""
    transitions: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupt_loaded: int = 0
    """Runs that ended with other trials or other final weights than the undisturbed one, in any bit."""
    damaged_files: int = 0
    halves: int = 0
    """Files that a kill caught half-written, under their temporary names."""

    @property
    def kills(self) -> int:
        """In all."""
        return self.killed.total()


def measure(setup: Setup) -> Iterator[Figure]:
    """`meld bench durability`: nothing may be lost, doubled, or differ."""
    kills, began = 2 if setup.quick else setup.kills, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="meld-durability-") as folder:
        bench = _Bench(Path(folder), random.Random(setup.seed))
        setup.tell("runs that nobody disturbs")
        bench.measure(kills, lambda: setup.tell(f"{bench.tally.kills} of {kills} kills"))
    tally = bench.tally
    for name, what in PROMISED.items():
        count = float(getattr(tally, name))
        goal = Goal(text="none", met=count == 0, promise=True)
        yield Figure(what=what, unit="", median=count, values={f"durability.{name}": count}, goal=goal)
    counts: dict[str, int] = {"kills": tally.kills, "caught_half_written": tally.halves}
    counts |= {"transitions": tally.transitions, "seed": setup.seed}
    counts |= {f"killed.{victim}": times for victim, times in sorted(tally.killed.items())}
    counts |= {f"runs.{kind}": times for kind, times in sorted(tally.runs.items())}
    values = {f"durability.{name}": count for name, count in counts.items()}
    seconds = round(time.monotonic() - began, 1)
    what = "kills (SIGKILL at random moments)"
    yield Figure(what=what, unit="", median=tally.kills, values=values | {"durability.seconds": seconds})


class _Bench:
    def __init__(self, root: Path, rng: random.Random) -> None:
        self._root, self._rng = root, rng
        self._config = load_config([share_dir() / "config" / "smoke.yaml"], OVERRIDES)
        self.tally = Tally()

    def measure(self, kills: int, show: Callable[[], None]) -> None:
        """Undisturbed runs first; then runs that are killed, until there were enough kills."""
        kinds = ["process", "graph"] if has_ros() else ["process"]
        folders = {kind: self._folder(f"undisturbed-{kind}") for kind in kinds}
        seconds = {kind: self._undisturbed(kind, folders[kind]) for kind in kinds}
        wanted = {kind: audit(folders[kind]).digests for kind in kinds}
        if len(set(wanted.values())) > 1:
            raise BenchError("the run in one process and the graph differ although nobody disturbed them")
        while self.tally.kills < kills:
            number = self.tally.runs.total()
            kind = kinds[-1] if number % 3 == 2 else "process"
            folder = self._folder(f"{kind}-{number}")
            self._run(kind, folder, seconds[kind], kills, show)
            self._judge(folder, wanted[kind])
            self.tally.runs[kind] += 1

    def _folder(self, name: str) -> RunFolder:
        """Weights and trials carry the run's name: all runs have the same."""
        return RunFolder(self._root / name / "run").create(self._config)

    def _undisturbed(self, kind: str, folder: RunFolder) -> float:
        began = time.monotonic()
        child = Child(kind, self._config, folder)
        if child.wait_until(began + _PATIENCE) != 0:
            raise BenchError(f"an undisturbed run ({kind}) failed; its messages are above")
        return time.monotonic() - began

    def _run(self, kind: str, folder: RunFolder, seconds: float, kills: int, show: Callable[[], None]) -> None:
        """Start, kill, start again, ..., and let it finish."""
        left, end = min(PER_RUN[kind], kills - self.tally.kills), time.monotonic() + _PATIENCE
        child = Child(kind, self._config, folder)
        try:
            while True:
                moment = time.monotonic() + self._rng.random() * seconds if left > 0 else end
                code = child.wait_until(moment)
                if code == 0:
                    return
                if code is None and moment >= end:
                    raise BenchError(f"a run ({kind}) did not come to its end within {_PATIENCE:.0f} s")
                if code is None:
                    left -= self._kill(child, folder)
                    show()
                if code is not None or child.wait_until(time.monotonic()) is not None:
                    child = self._again(child, kind, folder)
        finally:
            child.kill("supervisor")

    def _kill(self, child: Child, folder: RunFolder) -> int:
        victim = "process" if child.kind == "process" else self._rng.choice(VICTIMS)
        if not child.kill(victim):
            return 0
        self.tally.killed[victim] += 1
        self.tally.halves += halves(folder)
        return 1

    def _again(self, child: Child, kind: str, folder: RunFolder) -> Child:
        """What a kill left must be readable at any time; then somebody types --resume."""
        child.wait_for_silence()
        self.tally.damaged_files += len(damaged_files(folder))
        return Child(kind, self._config, folder.create(self._config, resume=True))

    def _judge(self, folder: RunFolder, wanted: tuple[str, ...]) -> None:
        found = audit(folder)
        self.tally.transitions += found.transitions
        self.tally.lost += found.lost
        self.tally.duplicated += found.duplicated
        self.tally.corrupt_loaded += found.digests != wanted
        self.tally.damaged_files += len(damaged_files(folder))


class Child:
    """A training in a forked process; everything is imported already, so that a start costs little."""

    def __init__(self, kind: str, config: Config, folder: RunFolder) -> None:
        self.kind, self._folder = kind, folder
        self._code: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os._exit(_live(kind, config, folder))

    def wait_until(self, moment: float) -> int | None:
        """Exit code, negative for a signal; None where it is still alive at that moment (monotonic seconds)."""
        if self._code is None and has_ended(self._pid, moment - time.monotonic()):
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def kill(self, victim: str) -> bool:
        """SIGKILL; returns whether the victim was alive. A supervisor takes its nodes with it."""
        pid = self._pid if victim in ("process", "supervisor") else node_pids(self._folder).get(victim, 0)
        if self._code is not None or not pid:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        if pid == self._pid:
            self.wait_until(time.monotonic() + _PATIENCE)
        else:
            self._wait_for_the_consequence(victim, pid)
        return True

    def _wait_for_the_consequence(self, victim: str, pid: int) -> None:
        """The graph has ended, or has started the victim again."""
        end = time.monotonic() + _PATIENCE
        while node_pids(self._folder).get(victim, pid) == pid and time.monotonic() < end:
            if self.wait_until(time.monotonic() + _LOOK) is not None:
                return

    def wait_for_silence(self) -> None:
        """Until no node of the run is left."""
        end = time.monotonic() + _PATIENCE
        for pid in node_pids(self._folder).values():
            has_ended(pid, end - time.monotonic())


def has_ended(pid: int, patience: float) -> bool:
    """Whether a process, of whoever, ends within some time [s]."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], max(0.0, patience))[0])
    finally:
        os.close(process)


def _live(kind: str, config: Config, folder: RunFolder) -> int:
    """In the child: train to the end."""
    try:
        if kind == "process":
            return 0 if train_in_process(config, folder) else 1
        outcome, _ = run_graph(render("train", config, Options(folder=folder.path)), folder, quiet=True)
        return 0 if outcome.finished else outcome.code
    except BaseException:
        traceback.print_exc()
        return 3


def node_pids(folder: RunFolder) -> dict[str, int]:
    """Process ids of the nodes of a run, by name, from their command lines."""
    found: dict[str, int] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        modules = [word for word in words if word.startswith("meld_ros.") and word.endswith("_node")]
        if modules and any(str(folder.path) in word for word in words):
            found[modules[0].removeprefix("meld_ros.").removesuffix("_node")] = int(path.parent.name)
    return found
