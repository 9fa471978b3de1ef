"""LinkState: whether the other machine is heard. Told by whoever listens, asked by whoever shows it to a person."""

from __future__ import annotations

import time
from collections.abc import Callable


class LinkState:
    """One direction of a link.

    Args:
        other: Who is listened to: `trainer`.
        clock: Steady seconds.
    """

    def __init__(self, other: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._other, self._clock = other, clock
        self._alive, self._since = 0, clock()
        self.losses = 0
        """How often the other was heard no longer."""

    @property
    def up(self) -> bool:
        """Whether the other is heard now."""
        return self._alive > 0

    @property
    def lost(self) -> bool:
        """Whether the other was heard once and is not now."""
        return not self.up and self.losses > 0

    def heard(self, alive: int) -> bool:
        """Take in how many of the other are alive. Returns whether the link came up or back with that."""
        before, self._alive = self.up, alive
        if before != self.up:
            self._since = self._clock()
            self.losses += before
        return self.up and not before

    @property
    def complaint(self) -> str:
        """What a person should know, in words that stay the same while it lasts; "" for nothing."""
        return f"the {self._other} is not heard any more" if self.lost else ""

    def __str__(self) -> str:
        seconds = self._clock() - self._since
        if self.up:
            return f"up for {seconds:.0f} s"
        return f"lost for {seconds:.0f} s" if self.lost else f"not heard yet, for {seconds:.0f} s"
