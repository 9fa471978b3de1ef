"""Starts and stops the nodes of a graph where `ros2 launch` is absent: one process each, no orphan, no silent death."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from meld_core.priority import share_niceness
from meld_ros.graph import Process

_POLL = 0.1
"""How often the supervisor looks after its nodes [s]."""
_HURRY = 2.0
"""What a second Ctrl-C leaves the nodes to end in [s]."""
_TAIL = 15
"""Last lines of a dead node that are shown."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_LOUD = ("[ERROR]", "[FATAL]")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a graph ended."""

    code: int
    """0: it finished or was asked to stop; 1: a node died; 2: a node refused what a person gave it."""
    finished: bool
    """Whether it reached its own end."""
    reason: str
    """One sentence."""


class Supervisor:
    """Runs one graph from its start to its end.

    Args:
        processes: What to start, in this order; they stop by their `stop_rank`.
        environment: Environment of every node; a process's own entries win.
        logs: Folder that gets `<node>.log`, everything a node printed.
        quiet: Show only errors on the terminal.
        say: Takes each line for the terminal.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        environment: dict[str, str],
        logs: Path,
        *,
        quiet: bool = False,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self._processes, self._environment, self._logs, self._quiet, self._say = (
            processes, environment, logs, quiet, say)  # fmt: skip
        self._children: list[_Child] = []
        self._selector = selectors.DefaultSelector()
        self._restarts: Counter[str] = Counter()
        self._stop_requests = 0
        self._requests_before = 0

    @property
    def process_ids(self) -> dict[str, int]:
        """Node name → process id, of all that were started."""
        return {child.process.name: child.pid for child in self._children}

    def request_stop(self) -> None:
        """Stop the graph as Ctrl-C does; from any thread."""
        self._stop_requests += 1

    def run(self, on_started: Callable[[], None] = lambda: None) -> Outcome:
        """Start every node, watch them, stop them; returns how it ended. Call it from the main thread."""
        with self._signals_caught():
            try:
                for process in self._processes:
                    self._start(process)
                on_started()
                outcome = self._watch()
            except OSError as error:
                outcome = Outcome(1, False, f"a node could not be started: {error}")
            finally:
                self._stop_all()
                self._selector.close()
        return outcome

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        def request_stop(*_: object) -> None:
            self._stop_requests += 1

        before = {signum: signal.signal(signum, request_stop) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _start(self, process: Process) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        child = _Child(process, self._environment, (self._logs / f"{process.name}.log").open("ab"))
        self._children.append(child)
        self._selector.register(child.output, selectors.EVENT_READ, child)

    def _watch(self) -> Outcome:
        while True:
            self._pump()
            if self._stop_requests:
                return Outcome(0, False, "stopped as asked")
            for child in list(self._children):
                if child.ended() and not (child.process.ends_graph and child.code == 0) and not self._restarted(child):
                    return self._died(child)
            enders = [child for child in self._children if child.process.ends_graph]
            if enders and all(child.ended() and child.code == 0 for child in enders):  # it may have died just now
                return Outcome(0, True, "finished")

    def _restarted(self, child: _Child) -> bool:
        """Start a node again that died, where it may be; never one that refused what a person gave it."""
        name = child.process.name
        times = self._restarts[name] + 1
        if child.code in (0, 2) or times > child.process.restarts:
            return False
        self._restarts[name] = times
        self._pump_all()
        how = describe_exit(child.code)
        self._say(f"node '{name}' {how}; started again ({times} of at most {child.process.restarts} times)")
        child.kill_group()
        if child.output in self._selector.get_map():
            self._selector.unregister(child.output)
        child.close()
        self._children.remove(child)
        self._start(child.process)
        return True

    def _pump_all(self) -> None:
        while self._pump(0.0):
            pass

    def _died(self, child: _Child) -> Outcome:
        self._pump_all()  # what it printed last says why
        name, how = child.process.name, describe_exit(child.code)
        if self._quiet:
            for line in child.tail:
                self._say(f"[{name}] {line}")
        reason = f"node '{name}' {how}; everything else was stopped (its log: {self._logs / f'{name}.log'})"
        return Outcome(2 if child.code == 2 else 1, False, reason)

    def _pump(self, timeout: float = _POLL) -> bool:
        """Pass on what nodes printed; whether there was anything."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            child: _Child = key.data
            lines = child.read()
            if lines is None:
                self._selector.unregister(key.fileobj)
                continue
            for line in lines:
                if not self._quiet or any(word in line for word in _LOUD):
                    self._say(f"[{child.process.name}] {line}")
        return bool(ready)

    def _stop_all(self) -> None:
        """SIGINT rank by rank, each with its bounded wait; SIGKILL for what is left."""
        self._requests_before = self._stop_requests
        for rank in sorted({child.process.stop_rank for child in self._children}):
            group = [child for child in self._children if child.process.stop_rank == rank]
            for child in group:
                child.send(signal.SIGINT)
            self._await_end(group, max(child.process.stop_timeout for child in group))
        for child in self._children:
            if not child.ended():
                self._say(f"node '{child.process.name}' did not end in time and was killed")
            child.kill_group()
        self._await_end(self._children, _HURRY)
        self._pump_all()
        for child in self._children:
            child.close()

    def _await_end(self, group: Sequence[_Child], timeout: float) -> None:
        """Wait until all have ended, for `timeout` at most; less once a person has asked again."""
        start = time.monotonic()
        while not all(child.ended() for child in group):
            hurry = self._stop_requests > self._requests_before
            if time.monotonic() - start > (min(timeout, _HURRY) if hurry else timeout):
                return
            self._pump()


class _Child:
    """One running node: its process group, its output, its end."""

    def __init__(self, process: Process, environment: dict[str, str], log: BinaryIO) -> None:
        self.process, self._log, self._part = process, log, b""
        self.tail: deque[str] = deque(maxlen=_TAIL)
        parent, last_signal = os.getpid(), process.orphan_signal
        self._popen = subprocess.Popen(
            process.command,
            env=environment | process.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor only, which stops nodes in order
            preexec_fn=lambda: _die_with(parent, last_signal),  # noqa: PLW1509 - takes no lock: a thread may be alive
        )
        share_niceness(self._popen.pid)
        assert self._popen.stdout is not None
        self.output = self._popen.stdout
        os.set_blocking(self.output.fileno(), False)

    @property
    def pid(self) -> int:
        """Process id, which is its group's too."""
        return self._popen.pid

    @property
    def code(self) -> int:
        """Exit code, or minus the signal that ended it."""
        assert self._popen.returncode is not None
        return int(self._popen.returncode)

    def ended(self) -> bool:
        return self._popen.poll() is not None

    def send(self, signum: int) -> None:
        if not self.ended():
            self._popen.send_signal(signum)

    def kill_group(self) -> None:
        """The node and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):  # where nothing is left of the group
            os.killpg(self.pid, signal.SIGKILL)

    def read(self) -> list[str] | None:
        """New whole lines; None at the end of the output."""
        data = os.read(self.output.fileno(), 65536)
        self._log.write(data)
        self._log.flush()
        *whole, self._part = (self._part + data).split(b"\n")
        if not data and self._part:
            whole, self._part = [self._part], b""
        lines = [line.decode(errors="replace").rstrip() for line in whole]
        self.tail.extend(lines)
        return lines if data or lines else None

    def close(self) -> None:
        self.output.close()
        self._log.close()


def _die_with(parent: int, signum: int) -> None:
    """In the child: end by `signum` when the supervisor is gone, even by SIGKILL."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:
            os._exit(1)


def describe_exit(code: int) -> str:
    """'ended with exit code 3', 'was killed by SIGKILL'."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
