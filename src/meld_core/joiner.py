"""StepJoiner: puts the messages of one step together by their stamp, in whatever order they come."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

_OPEN_STEPS = 4
"""In lockstep one step is open at a time; more than a few are remains of lost messages."""


class StepJoiner:
    """Gathers parts by stamp and hands out whole steps, each once, in order."""

    def __init__(self) -> None:
        self._open: dict[int, dict[str, Any]] = {}
        self._taken = 0

    def add(self, part: str, stamp: int, value: Any) -> bool:
        """One part of a step. False where the step was handed out before, or is older than one that was."""
        if stamp <= self._taken:
            return False
        self._open.setdefault(stamp, {})[part] = value
        while len(self._open) > _OPEN_STEPS:
            del self._open[min(self._open)]
        return True

    def take(self, parts: Set[str], since: int, newest: bool = False) -> tuple[int, dict[str, Any]] | None:
        """The oldest (or `newest`) step, not older than stamp `since`, that has all of `parts`.

        Returns:
            Its stamp and its parts; None without any. Older steps are gone then.
        """
        for stamp in sorted(self._open, reverse=newest):
            if stamp >= since and parts <= self._open[stamp].keys():
                step = self._open[stamp]
                self._taken = stamp
                self._open = {later: parts for later, parts in self._open.items() if later > stamp}
                return stamp, step
        return None

    def forget_all(self) -> None:
        """Start afresh: after a reset another robot with another clock may answer."""
        self._open, self._taken = {}, 0
