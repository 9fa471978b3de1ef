"""The lockstep ring with a recorder that hears everything, and trials rebuilt from what it heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lockstep_ring import SMALL, Ring

from meld_core.config import Config
from meld_core.exchange.rebuild import Rebuilder, RecordedAgent
from meld_core.exchange.recorded import Heard, Recording
from meld_core.exchange.steps import IncompleteError
from meld_core.storage.trial_file import encode_trial


class Tapped(Ring):
    """The ring, with a recorder that hears every message, the lost ones too, and the policy's word on each trial."""

    def __init__(self, lose: Callable[[str, int], bool] = lambda kind, number: False, trials: int = 2) -> None:
        self.heard: list[Heard] = []
        super().__init__(lose, trials)
        self.collector._on_trial = self._on_trial

    def _hear(self, topic: str, stamp: int, value: Any) -> None:
        self.heard.append(Heard(topic, 10 * len(self.heard) + 1, stamp, value))

    def _on_trial(self, trial: Any) -> None:
        self.trials.append(trial)
        facts = {"event": "closed", "trial": str(trial.meta.id), "rows": len(trial), "aborted": trial.meta.aborted}
        self._hear("trial_events", 0, facts)

    def _send(self, kind: str, value: Any) -> None:
        if kind in ("task", "gate_state"):
            self._hear(kind, 0, value)
        elif kind == "action":
            self._hear(kind, value[1], value[0])
        elif kind not in ("reset", "detector_image"):
            self._hear(kind, *value)
        super()._send(kind, value)


def rebuilt(heard: Sequence[Heard], config: Config = SMALL) -> tuple[list[bytes], list[str]]:
    """Trials as bytes, and why others were refused."""
    recording = Recording(heard)
    rebuilder = Rebuilder(config, RecordedAgent(), recording)
    files: list[bytes] = []
    reasons: list[str] = []
    for recorded in recording.read():
        try:
            trial = rebuilder.rebuild(recorded)
        except IncompleteError as error:
            reasons.append(str(error))
        else:
            files += [encode_trial(trial)] if trial else []
    return files, reasons
