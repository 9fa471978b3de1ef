"""Signals that ask a process to end, as an event that the rest of the program looks at."""

from __future__ import annotations

import _thread
import signal
import threading


def set_in_handler(event: threading.Event) -> None:
    """Set an event from within a signal handler, some microseconds later.

    `Event.set` takes the event's lock. A handler runs in the main thread between two of its instructions, also while
    that thread holds this lock: for a moment in `wait`, and in the handler of an earlier signal. It would wait for
    itself for ever, and the process would not end.
    """
    _thread.start_new_thread(event.set, ())


def set_on(event: threading.Event, *signums: signal.Signals) -> None:
    """Let these signals set the event, however often they come. Call it in the main thread."""
    for signum in signums:
        signal.signal(signum, lambda *_: set_in_handler(event))
