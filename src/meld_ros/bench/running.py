"""Runs a graph for a measurement: a folder of its own, a ROS domain of its own, somebody who watches."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from meld_core.config import Config
from meld_core.storage.run_folder import RunFolder
from meld_ros.domain import own_domain
from meld_ros.graph import Options, environment, render
from meld_ros.supervisor import Outcome, Supervisor

Watch = Callable[[Supervisor, threading.Event, dict[str, float]], None]
"""Runs in a thread beside the graph; the event says that it has ended; fills in the peak memory of nodes [MB]."""


@contextlib.contextmanager
def run_folder(config: Config) -> Iterator[RunFolder]:
    """A run's folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="meld-bench-") as name:
        yield RunFolder(Path(name) / "bench").create(config)


def supervise(mode: str, config: Config, folder: RunFolder, watch: Watch) -> tuple[Outcome, dict[str, float]]:
    """Run a graph to its end. Returns how it ended, and the peak memory of nodes as far as `watch` looked."""
    with own_domain() as domain:
        processes = render(mode, config, Options(folder=folder.path))
        env = environment(folder.path, domain)
        supervisor = Supervisor(processes, env, folder.path / "logs", quiet=True)
        peaks: dict[str, float] = {}
        ended = threading.Event()
        watcher = threading.Thread(target=watch, args=(supervisor, ended, peaks), daemon=True)
        outcome = supervisor.run(watcher.start)
        ended.set()
        watcher.join()
    return outcome, peaks


def peaks_of(supervisor: Supervisor, peaks: dict[str, float]) -> None:
    """Bring the peak memory of every node up to now [MB]."""
    for node, pid in supervisor.process_ids.items():
        peaks[node] = max(peaks.get(node, 0.0), peak_rss(pid))


def peak_rss(pid: int) -> float:
    """Most resident memory of a process so far [MB]; 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0
