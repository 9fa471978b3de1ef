"""A learner in a process of its own that trains without end: what a policy shares its machine with."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection

from meld_core.bench.data import Store, demonstrations
from meld_core.bench.figures import BenchError
from meld_core.config import load_config

_START = 120.0
"""Longest wait for its first update [s]."""


@contextlib.contextmanager
def busy_learner(threads: int = 1) -> Iterator[None]:
    """Updates of the default model and actor-critic on `threads` threads, from the first one on until the end.

    Raises:
        BenchError: where it does not start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    process = context.Process(target=_learn, args=(threads, theirs), name="learner", daemon=True)
    process.start()
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    theirs.close()
    try:
        if not ours.poll(_START) or not _said(ours):
            raise BenchError("the learner beside the measurement did not start")
        yield
        if not process.is_alive():
            raise BenchError("the learner beside the measurement ended early")
    finally:
        process.kill()
        process.join()


def _said(connection: Connection) -> bool:
    with contextlib.suppress(EOFError):
        return connection.recv_bytes() == b"busy"
    return False


def _learn(threads: int, connection: Connection) -> None:
    from meld_core.learner import Learner

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = load_config(overrides=[f"learner.threads={threads}", "learner.update_every=1", "learner.device=cpu"])
    learner = Learner(config, Store(demonstrations(config, 4)))
    index, told = config.train.demonstrations, False

    def tell(*_: int) -> None:
        nonlocal told
        if not told:
            connection.send_bytes(b"busy")
        told = True

    while os.getppid() > 1:
        learner.train_after(index, tell)
        index += 1
