"""`meld train`: the graph of nodes (or one process), its live progress, and the evaluation at the end."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from meld_core.config import Config
from meld_core.stop_signals import set_in_handler
from meld_core.storage.run_folder import RunFolder
from meld_ros.domain import own_domain
from meld_ros.graph import Options, Process, environment, render
from meld_ros.supervisor import Outcome, Supervisor


class NoRosError(RuntimeError):
    """ROS 2 is needed and not here."""


def has_ros() -> bool:
    """Whether rclpy can be imported; nothing is imported."""
    return importlib.util.find_spec("rclpy") is not None


def require_ros() -> None:
    """Raises NoRosError where no ROS 2 is."""
    if not has_ros():
        raise NoRosError("no ROS 2 is here (rclpy cannot be imported); source one, or run `meld train --in-process`")


def run_training(config: Config, folder: RunFolder, *, in_process: bool, line: str) -> int:
    """Train until the end of the run, then evaluate it.

    Args:
        config: Resolved.
        folder: Made already.
        in_process: Without ROS.
        line: The command line, for the certificate.

    Returns:
        Exit code.
    """
    if config.train.fixed_data:
        in_process = True
    elif not in_process and not has_ros():
        _tell("no ROS 2 is here (rclpy cannot be imported): training in one process, with the same results")
        in_process = True
    if in_process and not config.train.fixed_data:
        _refuse_persons(config)
    _tell(f"run folder: {folder.path}")
    ids: dict[str, int] = {}
    with _progress(config, folder) as show:
        if in_process:
            outcome = _train_here(config, folder, show)
        else:
            processes = render("train", config, Options(folder=folder.path))
            outcome, ids = run_graph(processes, folder, quiet=True, on_started=show)
        if outcome.finished:
            outcome = _evaluate(folder, line, ids)
    if not outcome.finished:
        _tell(f"{outcome.reason}; go on with: meld train --run {folder.name} --resume")
        return outcome.code
    _show_result(folder)
    return 0


def _refuse_persons(config: Config) -> None:
    """Raises NoRosError where a person is to move the arm."""
    robot, train = config.robot, config.train
    if "teleop" in robot.reset or "person" in (robot.setup, train.demonstrator):
        raise NoRosError(
            "a person moves the arm through ROS 2 nodes, a run in one process has none "
            "[settings: robot.reset, robot.setup, train.demonstrator]"
        )


def run_graph(
    processes: Sequence[Process], folder: RunFolder, *, quiet: bool, on_started: Callable[[], None] = lambda: None
) -> tuple[Outcome, dict[str, int]]:
    """Run a rendered graph under the supervisor, on a ROS domain of its own; its outcome and its process ids."""
    with own_domain() as domain:
        supervisor = Supervisor(processes, environment(folder.path, domain), folder.path / "logs", quiet=quiet)
        outcome = supervisor.run(on_started)
    trains = any(process.name == "trainer" for process in processes)
    if outcome.finished and trains and not folder.training.is_file():  # a signal ended the policy, with exit code 0
        outcome = Outcome(1, False, "node 'policy' was told to stop before the training was complete")
    return outcome, supervisor.process_ids


def _train_here(config: Config, folder: RunFolder, show: Callable[[], None]) -> Outcome:
    from meld_core.train import train_in_process

    show()
    with stop_requested() as stop:
        finished = train_in_process(config, folder, stop)
    return Outcome(0, True, "finished") if finished else Outcome(0, False, "stopped as asked")


def _evaluate(folder: RunFolder, line: str, ids: dict[str, int]) -> Outcome:
    from meld_core.evaluate import evaluate_run
    from meld_core.metrics import MetricsWriter

    with _interruptible(), MetricsWriter(folder.path) as metrics:

        def count(phase: str, current: int, total: int) -> None:
            metrics.write("status", phase=phase, current=current, total=total)

        try:
            evaluate_run(folder, line, ids, count)
        except KeyboardInterrupt:
            return Outcome(0, False, "the training is complete, its evaluation was stopped as asked")
    return Outcome(0, True, "finished")


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM: the trial that runs is finished first. A second one ends it at once."""
    stop = threading.Event()

    def request(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(signum, frame)
        set_in_handler(stop)

    before = {signum: signal.signal(signum, request) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends this like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(config: Config, folder: RunFolder) -> Iterator[Callable[[], None]]:
    """Yields what starts the display: after the nodes are forked, because it runs in a thread."""
    from meld_core.reporting.progress import Progress

    stop = threading.Event()
    thread = threading.Thread(target=Progress(folder, config).run, args=(stop,), name="progress", daemon=True)
    try:
        yield thread.start
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()


def _show_result(folder: RunFolder) -> None:
    from rich.console import Console

    from meld_core.evaluation.certificate import load_certificate
    from meld_ros.commands.evaluation import result_table

    Console().print(result_table(load_certificate(folder.certificate)))
    for name, path in _shown(folder):
        print(f"{name:<12} {path}")


def _shown(folder: RunFolder) -> Iterator[tuple[str, object]]:
    yield "certificate", folder.certificate
    yield "report", folder.report
    for pattern in ("*.png", "videos/*"):
        for path in sorted(folder.path.glob(pattern)):
            yield {".png": "plot"}.get(path.suffix, "video"), path
    yield "tensorboard", folder.tensorboard


def _tell(sentence: str) -> None:
    print(f"meld: {sentence}", file=sys.stderr, flush=True)
