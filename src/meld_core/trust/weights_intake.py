"""WeightsIntake: makes weights that arrive ready to act, in a thread of its own, so that no tick waits for them."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable

from meld_core.agent import ReadyWeights
from meld_core.storage.chunks import Assembler
from meld_core.weights import Weights


class WeightsIntake:
    """Joins pieces, checks and tries the weights, copies them into networks, one message after the other.

    Args:
        admit: Weights from bytes, None where they are here already; raises ValueError where they may not act
            (`WeightsGate.admit`).
        prepare: Copies them into networks (`Agent.prepare`).
    """

    def __init__(self, admit: Callable[[bytes], Weights | None], prepare: Callable[[Weights], ReadyWeights]) -> None:
        self._admit, self._prepare = admit, prepare
        self._assembler = Assembler()
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
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
        weights = None if data is None else self._admit(data)
        return None if weights is None else self._prepare(weights)

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
