"""Who goes first where processors are short: in realtime those with a deadline."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICENESS = 10
"""Weighs about a tenth of a process that has a deadline."""
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux shares processors between sessions first, and looks at niceness only within one (sched(7))."""


def give_way() -> None:
    """This process takes what others leave of the processors: the calling thread, and threads that it starts.

    A session that it shares with others stays as it is: their weights among each other are what counts there.
    """
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # another system, or a kernel without it
            AUTOGROUP.write_text(str(NICENESS), encoding="ascii")


def share_niceness(process: int) -> None:
    """A process that was given a session of its own gives way as much as this one: `nice` reaches all of a graph."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        with contextlib.suppress(OSError):  # as above; or it has ended
            Path(f"/proc/{process}/autogroup").write_text(str(niceness), encoding="ascii")
