"""What the policy's and the robot's side tell each other about episodes: an announcement, and the gate's report."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from meld_core.json_text import parse_object
from meld_core.robot import GateState
from meld_core.tasks import Task


@dataclasses.dataclass(frozen=True)
class EpisodeKey:
    """Names one episode, and so one reset of the arm."""

    run: str
    boot: str
    """Of the process that collects; another one after an aborted trial."""
    trial: int
    episode: int

    def same_trial(self, other: EpisodeKey | None) -> bool:
        """Whether both belong to one trial."""
        return other is not None and dataclasses.replace(other, episode=self.episode) == self


@dataclasses.dataclass(frozen=True)
class Announcement:
    """Which episode comes next, and the task that its bench needs."""

    key: EpisodeKey
    task: Task
    by: str = "policy"
    """Who commands in it: `policy` or `person`."""

    def to_json(self) -> str:
        """One line of JSON."""
        key, task = dataclasses.asdict(self.key), self.task.to_json()
        about = {"task_id": self.task.id, "split": self.task.split, "by": self.by}
        return json.dumps({**key, **about, "task": task}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Announcement:
        """Inverse of `to_json`. Raises ValueError in one sentence."""
        try:
            raw = parse_object(text)
            return Announcement(_key(raw), Task.from_json(raw["task"]), str(raw.get("by", "policy")))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"this announces no task ({error}): {text[:80]!a}") from None


@dataclasses.dataclass(frozen=True)
class GateReport:
    """The gate's state, and which reset it belongs to."""

    state: GateState
    reason: str
    key: EpisodeKey | None
    """The newest episode that was announced."""
    reset_stamp: int
    """Stamp of the first observation after the reset for `key` [ns]; 0 before it. Older data is not of this episode."""
    parts: tuple[str, ...] = ()
    """Topics that carry one message per step, all with the step's stamp."""
    waits_for: str = ""
    """What a person must do before it goes on, in a sentence; "" where nobody is waited for."""

    def to_json(self) -> str:
        """One line of JSON."""
        raw: dict[str, Any] = {"state": self.state.value, "reason": self.reason, "reset_stamp": self.reset_stamp}
        raw |= {"parts": list(self.parts), "waits_for": self.waits_for} | (
            dataclasses.asdict(self.key) if self.key else {}
        )
        return json.dumps(raw, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> GateReport:
        """Inverse of `to_json`. Raises ValueError in one sentence."""
        try:
            raw = parse_object(text)
            key = _key(raw) if "boot" in raw else None
            parts = tuple(str(part) for part in raw["parts"])
            stamp, waits_for = int(raw["reset_stamp"]), str(raw.get("waits_for", ""))
            return GateReport(GateState(raw["state"]), str(raw["reason"]), key, stamp, parts, waits_for)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"this is no gate state ({error}): {text[:80]!a}") from None


def _key(raw: Any) -> EpisodeKey:
    return EpisodeKey(str(raw["run"]), str(raw["boot"]), int(raw["trial"]), int(raw["episode"]))
