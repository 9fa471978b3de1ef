"""Runs stand-in nodes under the supervisor, as a process of its own: `python stand_in_graph.py FOLDER SPEC`.

SPEC is JSON: a list of {"name", "code", ...fields of Process that differ}. `code` is Python, run after `PRELUDE`.
The exit code is the supervisor's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from meld_ros.graph import Process
from meld_ros.supervisor import Supervisor

PRELUDE = """
import os, signal, subprocess, sys, time

def ready():
    print("ready", os.getpid(), flush=True)

def obey():
    "Wait for SIGINT, say so, end well."
    signal.signal(signal.SIGINT, lambda *_: (print("asked to stop", time.monotonic(), flush=True), sys.exit(0)))
    ready()
    while True:
        signal.pause()

def resist():
    "Ignore every polite request."
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ready()
    while True:
        signal.pause()
"""


def stand_in(name: str, code: str, **different: Any) -> Process:
    """A node that is a few lines of Python."""
    fields: dict[str, Any] = {
        "executable": f"{name}_node",
        "namespace": "",
        "parameter_file": Path(),
        "ros_arguments": (),
        "remappings": (),
        "environment": {},
        "ends_graph": False,
        "stop_rank": 1,
        "stop_timeout": 5.0,
        "orphan_signal": signal.SIGKILL,
        "restarts": 0,
    }
    return Process(**(fields | different), name=name, command=(sys.executable, "-c", PRELUDE + code))


def main() -> int:
    """See the module."""
    folder, spec = Path(sys.argv[1]), json.loads(sys.argv[2])
    supervisor = Supervisor([stand_in(**node) for node in spec], dict(os.environ), folder)
    outcome = supervisor.run()
    print(f"outcome: {outcome.reason}", flush=True)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
