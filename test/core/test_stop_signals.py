"""A signal that comes while the main thread holds the event's lock must not make the process wait for itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, threading
from meld_core.stop_signals import set_on
from meld_ros.commands.training import stop_requested

def end(stop):
    with stop._cond:  # as `wait` and `set` hold it for a moment
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(1000))  # the handler runs here
    assert stop.wait(10.0)
    print("ended")

if sys.argv[1] == "node":
    stop = threading.Event()
    set_on(stop, signal.SIGTERM)
    end(stop)
else:
    with stop_requested() as stop:
        end(stop)
"""


@pytest.mark.parametrize("who", ["node", "command"])
def test_a_signal_at_the_worst_moment_ends_the_process(who: str) -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM, who], capture_output=True, text=True, timeout=60)
    assert run.stdout == "ended\n", run.stderr
