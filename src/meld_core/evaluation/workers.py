"""Trials collected by several processes, the same whatever their number."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import multiprocessing
import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Protocol

from meld_core.config import Config
from meld_core.schedule import TrialPlan
from meld_core.storage.trial_file import decode_trial, encode_trial
from meld_core.threads import one_thread
from meld_core.types import Trial
from meld_core.weights import Weights


class EvaluationError(RuntimeError):
    """An evaluation could not be finished; its text is one clear sentence."""


class Collect(Protocol):
    """`rollout.collect`."""

    def __call__(
        self, config: Config, weights: Weights | None, plans: Iterable[TrialPlan], clear_belief: bool
    ) -> Iterator[Trial]:
        """Run the plans in order."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Plans to run, and with what."""

    config: Config
    weights: bytes | None
    """`Weights.to_bytes`; None for the untrained agent."""
    plans: Sequence[TrialPlan]
    clear_belief: bool
    collect: str
    """Where trials come from, 'module:function': by name, because a worker process has to find it too."""

    def share(self, worker: int, workers: int) -> Job:
        """Every `workers`-th plan, starting with number `worker`."""
        return dataclasses.replace(self, plans=self.plans[worker::workers])

    def run(self) -> Generator[Trial, None, None]:
        """Run the plans in order, on one torch thread."""
        module, _, function = self.collect.partition(":")
        collect: Collect = getattr(importlib.import_module(module), function)
        weights = None if self.weights is None else Weights.from_bytes(self.weights)
        with one_thread():
            yield from collect(self.config, weights, self.plans, clear_belief=self.clear_belief)


def collect_in_processes(job: Job, processes: int) -> Generator[tuple[int, Trial], None, None]:
    """Run a job in worker processes of one torch thread each, or in this one where `processes` is 1.

    Yields:
        (index of the plan, trial) in order of finishing.

    Raises:
        EvaluationError: where a worker fails or dies.
    """
    workers = min(processes, len(job.plans))
    if workers > 1:
        yield from _gather(job, workers)
        return
    with contextlib.closing(job.run()) as trials:
        yield from enumerate(trials)


def _gather(job: Job, workers: int) -> Iterator[tuple[int, Trial]]:
    crew = [Worker(job.share(k, workers), k) for k in range(workers)]
    try:
        busy = {worker.connection: worker for worker in crew}
        while busy:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                trial = worker.receive()
                if trial is None:
                    del busy[worker.connection]
                else:
                    yield worker.number + workers * (worker.received - 1), trial
    finally:
        for worker in crew:
            worker.close()


class Worker:
    """One process that sends its trials back, in the file format."""

    def __init__(self, job: Job, number: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy open GL contexts and threads
        self.number = number
        self.received = 0
        self._expected = len(job.plans)
        self.connection, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(job, theirs), name=f"evaluation-{number}", daemon=True)
        self._process.start()
        theirs.close()

    def receive(self) -> Trial | None:
        """The next trial; None after the last one.

        Raises:
            EvaluationError: where the worker failed or died.
        """
        try:
            header = json.loads(self.connection.recv_bytes())
            if header["what"] == "trial":
                trial = decode_trial(self.connection.recv_bytes())
                self.received += 1
                return trial
        except (EOFError, OSError):
            self._process.join()
            raise EvaluationError(self._describe(f"died ({_exit(self._process.exitcode)})")) from None
        if header["what"] == "failed":
            raise EvaluationError(self._describe(f"failed: {header['why']}"))
        if self.received != self._expected:
            raise EvaluationError(self._describe("ended early"))
        return None

    def _describe(self, what: str) -> str:
        return f"evaluation worker {self.number} {what}, after {self.received} of its {self._expected} trials"

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()


def _exit(code: int | None) -> str:
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def _work(job: Job, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    end: dict[str, str] = {"what": "end"}
    try:
        for trial in job.run():
            connection.send_bytes(b'{"what": "trial"}')
            connection.send_bytes(encode_trial(trial))
    except BrokenPipeError:
        return  # the parent is gone
    except Exception as error:  # any failure has to reach the person who waits, in the parent
        end = {"what": "failed", "why": f"{type(error).__name__}: {error}"}
    connection.send_bytes(json.dumps(end).encode())
