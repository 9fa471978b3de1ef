"""Keys of a terminal, as they are pressed."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator

_QUIT = ("q", "\x03", "\x04")
_POLL = 0.1
_BURST = 64


def pressed_keys(finished: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """Each key, on a terminal without Enter; ends with q, Ctrl+C, the end of the input, or once it is finished."""
    with _raw_terminal():
        while not finished():
            if not select.select([sys.stdin], [], [], _POLL)[0]:
                continue
            keys = os.read(sys.stdin.fileno(), _BURST).decode(
                errors="ignore"
            )  # read(1) would hide the others from select
            for key in keys:
                if key in _QUIT:
                    return
                yield key
            if not keys:
                return


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
