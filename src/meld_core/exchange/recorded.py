"""What a recording of a graph's topics holds: trials, each with the messages of its episodes.

A recording is read once, message by message. What belongs to an episode is everything between its announcement and the
next one; a straggler may come a little later. A trial is handed out once the episode after it has ended.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.driver import Label
from meld_core.robot import GateState
from meld_core.tasks import Task


@dataclasses.dataclass(frozen=True)
class Heard:
    """One message, converted as the live policy converts it."""

    topic: str
    """Without namespace."""
    time: int
    """When it was recorded [ns]."""
    stamp: int
    """Of its header [ns]; 0 where it has none."""
    value: Any
    """`task` Announcement; `gate_state` GateReport; `action`, `executed_action` (A,) float32; `trial_events` mapping;
    `weights` Label; `trials` bytes; a part of a step as `Collector.on_part` takes it."""


@dataclasses.dataclass
class Segment:
    """One episode as far as it was recorded."""

    key: EpisodeKey
    task: Task
    by_person: bool = False
    """Whether a person commands in it."""
    parts: dict[int, dict[str, tuple[int, Any]]] = dataclasses.field(default_factory=dict)
    """Stamp → part → time and value. What was published again is kept once."""
    actions: dict[int, tuple[int, np.ndarray]] = dataclasses.field(default_factory=dict)
    """Stamp of the observation → time and command."""
    executed: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    opening: GateReport | None = None
    """The report that opened the gate after the reset."""
    echoed: int = 0
    """When the robot's side took note of the episode [ns]; 0 where the recording began later."""

    def take(self, heard: Heard) -> None:
        """Add one message of a step."""
        if heard.topic == "action":
            self.actions.setdefault(heard.stamp, (heard.time, heard.value))
        elif heard.topic == "executed_action":
            self.executed.setdefault(heard.stamp, heard.value)
        else:
            self.parts.setdefault(heard.stamp, {}).setdefault(heard.topic, (heard.time, heard.value))

    def take_report(self, report: GateReport, time: int) -> None:
        """Add what the gate says about this episode."""
        if report.reset_stamp == 0:
            self.echoed = self.echoed or time
        elif report.state is (GateState.TELEOP if self.by_person else GateState.POLICY) and self.opening is None:
            self.opening = report


@dataclasses.dataclass(frozen=True)
class RecordedTrial:
    """The recorded episodes of one trial, and the one that came after them."""

    segments: tuple[Segment, ...]
    following: Segment | None
    """None where the recording ended."""

    @property
    def key(self) -> EpisodeKey:
        """Of its first recorded episode."""
        return self.segments[0].key

    @property
    def broken_off(self) -> bool:
        """Whether another actor went on after it: the same one would have closed the trial before the next."""
        return self.following is not None and self.following.key.boot != self.key.boot

    def after(self, number: int) -> Segment | None:
        """The segment after segment `number`: where its stragglers are."""
        return self.segments[number + 1] if number + 1 < len(self.segments) else self.following


class Recording:
    """Reads messages and hands out trials.

    Args:
        heard: All messages of one graph, in order of time.
    """

    def __init__(self, heard: Iterable[Heard]) -> None:
        self._heard = heard
        self.weights: list[tuple[int, Label]] = []
        """Time, and weights that were published until now."""
        self.closed: dict[str, tuple[int, str]] = {}
        """Id of a trial that the policy closed → its rows, and why it was aborted ("" where it was not)."""
        self.trials: list[bytes] = []
        """Whole trials as they were sent; whoever reads takes them out."""
        self.counts: Counter[str] = Counter()
        """Messages per topic."""

    def read(self) -> Iterator[RecordedTrial]:
        """Every trial that was announced."""
        group: list[Segment] = []
        for segment in self._ended_segments():
            if group and not segment.key.same_trial(group[0].key):
                yield RecordedTrial(tuple(group), segment)
                group = []
            group.append(segment)
        if group:
            yield RecordedTrial(tuple(group), None)

    def _ended_segments(self) -> Iterator[Segment]:
        """Segments, each once the next announcement has come."""
        now: Segment | None = None
        before: Segment | None = None
        for heard in self._heard:
            self.counts[heard.topic] += 1
            if heard.topic == "task":
                announcement: Announcement = heard.value
                if now is None or announcement.key != now.key:
                    if now is not None:
                        yield now
                    before, now = now, Segment(announcement.key, announcement.task, announcement.by == "person")
            elif heard.topic == "gate_state":
                for segment in (now, before):
                    if segment is not None and heard.value.key == segment.key:
                        segment.take_report(heard.value, heard.time)
            elif not self._take_aside(heard) and now is not None:
                now.take(heard)
        if now is not None:
            yield now

    def _take_aside(self, heard: Heard) -> bool:
        """What belongs to no episode."""
        if heard.topic == "weights":
            self.weights.append((heard.time, heard.value))
        elif heard.topic == "trials":
            self.trials.append(heard.value)
        elif heard.topic == "trial_events":
            event = heard.value
            if event.get("event") == "closed":
                self.closed[str(event.get("trial"))] = (int(event.get("rows", 0)), str(event.get("aborted", "")))
        else:
            return False
        return True
