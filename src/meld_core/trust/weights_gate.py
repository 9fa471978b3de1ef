"""WeightsGate: which of the weights that arrive at a policy may act."""

from __future__ import annotations

import time
from collections.abc import Callable

from meld_core.agent import ReadyWeights
from meld_core.config import Config, to_mapping
from meld_core.trust.canary import Canary
from meld_core.weights import Weights, WeightsError


class WeightsGate:
    """Admits weights of this run, of this config, newer than any before, and fit to act.

    Args:
        config: Of the run.
        run: Its name.
        clock: Steady seconds.
        compiled: Whether they are made ready for an agent that is.
    """

    def __init__(
        self, config: Config, run: str, clock: Callable[[], float] = time.monotonic, compiled: bool = False
    ) -> None:
        self._config, self._run, self._clock = config, run, clock
        self._settings = to_mapping(config)
        self._canary = Canary(config, compiled)
        self._known: dict[int, str] = {}
        self._since: dict[int, float] = {}
        self._newest = b""

    def admit(self, data: bytes) -> ReadyWeights | None:
        """Weights from bytes, ready to act; None where they are here already.

        Raises:
            WeightsError: in one sentence, why they may not act.
        """
        if data == self._newest:
            return None
        weights = Weights.from_bytes(data)
        if weights.run != self._run:
            raise WeightsError(f"weights of run '{weights.run}' came, this is '{self._run}'")
        if weights.config != self._settings:
            weights.check_fits(self._config)
            raise WeightsError(f"weights version {weights.version} were trained with another config than this run's")
        if self._known.get(weights.version) == weights.digest:
            return None
        newest = max(self._known, default=-1)
        if weights.version <= newest:
            raise WeightsError(f"weights version {weights.version} came, version {newest} is here already")
        ready = self._canary.check(weights)
        self._newest = data
        self._known[weights.version], self._since[weights.version] = weights.digest, self._clock()
        return ready

    def seconds_since(self, version: int) -> float | None:
        """Since when weights of this version are here [s]; None where they are not."""
        return self._clock() - self._since[version] if version in self._since else None
