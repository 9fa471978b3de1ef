"""WeightsIntake: makes weights that arrive ready to act, in a thread of its own, so that no tick waits for them."""

from __future__ import annotations

import collections
import queue
import sys
import threading
from collections.abc import Callable

from meld_core.agent import ReadyWeights
from meld_core.storage.chunks import Assembler

_SWITCH = 1e-4
"""After this a thread gives way to another one that waits [s]."""


class WeightsIntake:
    """Joins pieces and lets weights be checked, copied and tried, one message after the other.

    Python lets a thread go on for 5 ms before it gives way to another one, and a tick has to ask several times: while
    there is such an intake, every thread of the process gives way sooner.

    Args:
        admit: Weights from bytes, ready to act; None where they are here already; raises ValueError where they may not
            (`WeightsGate.admit`).
    """

    def __init__(self, admit: Callable[[bytes], ReadyWeights | None]) -> None:
        self._admit = admit
        self._patience = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH)
        self._assembler = Assembler()
        self._pieces: queue.Queue[bytes | None] = queue.Queue()
        self._outcomes: collections.deque[ReadyWeights | Exception | None] = collections.deque()
        self._open = 0
        self._thread = threading.Thread(target=self._run, name="weights", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            try:
                self._outcomes.append(self._ready(piece))
            except Exception as error:  # raised again where somebody hears it
                self._outcomes.append(error)

    def _ready(self, piece: bytes) -> ReadyWeights | None:
        data = self._assembler.add(piece)
        return None if data is None else self._admit(data)

    def put(self, piece: bytes) -> None:
        """A message of `weights`: all of them, or a piece. Returns at once."""
        self._open += 1
        self._pieces.put(piece)

    @property
    def busy(self) -> bool:
        """Whether the outcome of a message has not been taken yet."""
        return self._open > 0

    def take(self) -> list[ReadyWeights | ValueError]:
        """What came of the messages since the last call: weights that are ready, and why others may not act.

        Raises:
            Exception: a fault of the program, if one came in the thread.
        """
        taken: list[ReadyWeights | ValueError] = []
        while self._outcomes:
            outcome = self._outcomes.popleft()
            self._open -= 1
            if isinstance(outcome, Exception) and not isinstance(outcome, ValueError):
                raise outcome
            if outcome is not None:
                taken.append(outcome)
        return taken

    def close(self) -> None:
        """End the thread; what it has under way is lost. Safe to call twice."""
        self._pieces.put(None)
        self._thread.join()
        sys.setswitchinterval(self._patience)
