"""Which observations of a recorded episode the policy took, and what came of each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np

from meld_core.config import Config
from meld_core.exchange.recorded import Segment


class IncompleteError(ValueError):
    """This trial cannot be rebuilt; the text is one clear sentence."""


@dataclasses.dataclass(frozen=True)
class RecordedStep:
    """One observation that was taken, and what followed it."""

    stamp: int
    parts: Mapping[str, Any]
    """Reward None: in realtime it came too late."""
    action: np.ndarray | None
    """What the policy commanded; None at an episode's last observation, and where a person commands."""
    executed: tuple[int, np.ndarray] | None
    """What the gate let through, and the stamp that it says; None at an episode's last observation."""


class Steps:
    """Finds the steps of an episode as the live collector took them.

    In lockstep that is every observation, one control period apart. In realtime it is every observation that the policy
    answered, and the first whole one after the last answer. A person's commands belong to the first whole observation
    since the command before (`link.PersonCommands`).
    """

    def __init__(self, config: Config) -> None:
        self._realtime = config.robot.mode == "realtime"
        self._apart = 1.5e9 * config.robot.control_period

    def of(self, segment: Segment, after: Segment | None) -> Iterator[RecordedStep]:
        """The steps, in order.

        Args:
            segment: The episode; its gate was opened.
            after: The next episode, among which stragglers are.

        Raises:
            IncompleteError: where something of a step was not recorded.
        """
        assert segment.opening is not None
        parts = (set(segment.opening.parts) - {"detector_image"}) | {"reward"}
        answers = self._answers(segment, after, parts)
        for number, (stamp, given) in enumerate(answers):
            time, action = segment.actions.get(stamp, (0, None))
            if given is None and number < len(answers) - 1:
                raise IncompleteError(_lack("the command", segment, number))
            if given is not None and given not in segment.executed:
                raise IncompleteError(_lack("what was executed", segment, number))
            found = self._parts(segment, after, stamp, before=time)
            if lacking := sorted(parts - found.keys()):
                raise IncompleteError(_lack(", ".join(lacking), segment, number))
            executed = None if given is None else (given, segment.executed[given])
            yield RecordedStep(stamp, {name: found[name] for name in parts}, action, executed)

    def _answers(self, segment: Segment, after: Segment | None, parts: Set[str]) -> list[tuple[int, int | None]]:
        """Stamp of each observation, and of the command that answered it; None for the last."""
        assert segment.opening is not None
        begin = segment.opening.reset_stamp
        heard = sorted(stamp for stamp in segment.parts.keys() | segment.actions.keys() if stamp >= begin)
        if not self._realtime:
            self._check_gaps(segment, heard)
        if segment.by_person:
            return self._by_person(segment, after, parts, heard)
        if not self._realtime:
            return [(stamp, stamp if stamp in segment.actions else None) for stamp in heard]
        acted = [stamp for stamp in heard if stamp in segment.actions]
        end = self._first_whole(segment, after, parts, heard, max(acted, default=begin) + 1)
        if end is None:
            raise IncompleteError(_lack("the observation", segment, len(acted)))
        return [*((stamp, stamp) for stamp in acted), (end, None)]

    def _check_gaps(self, segment: Segment, heard: list[int]) -> None:
        gap = next((n for n, (a, b) in enumerate(itertools.pairwise(heard)) if b - a > self._apart), None)
        if gap is not None:
            raise IncompleteError(_lack("everything", segment, gap + 1))
        if heard[-1] in segment.actions:
            raise IncompleteError(_lack("the observation", segment, len(heard)))

    def _by_person(
        self, segment: Segment, after: Segment | None, parts: Set[str], heard: list[int]
    ) -> list[tuple[int, int | None]]:
        answers: list[tuple[int, int | None]] = []
        given, since = sorted(segment.executed), heard[0]
        while True:
            if self._realtime:
                stamp = self._first_whole(segment, after, parts, heard, since)
            else:
                stamp = next((one for one in heard if one >= since), None)
            if stamp is None:
                raise IncompleteError(_lack("the observation", segment, len(answers)))
            command = next((one for one in given if one >= stamp), None)
            answers.append((stamp, command))
            if command is None:
                return answers
            since = command + 1

    def _first_whole(
        self, segment: Segment, after: Segment | None, parts: Set[str], heard: list[int], since: int
    ) -> int | None:
        later = (stamp for stamp in heard if stamp >= since)
        return next((stamp for stamp in later if parts <= self._parts(segment, after, stamp).keys()), None)

    def _parts(self, segment: Segment, after: Segment | None, stamp: int, before: int = 0) -> dict[str, Any]:
        """Parts of one step. In realtime a reward that came after the command was missing when it was needed."""
        timed = {**(after.parts.get(stamp, {}) if after else {}), **segment.parts.get(stamp, {})}
        found = {name: value for name, (_, value) in timed.items()}
        if self._realtime and before and timed.get("reward", (before + 1, None))[0] > before:
            found["reward"] = None
        return found


def _lack(what: str, segment: Segment, step: int) -> str:
    return f"{what} of step {step} of episode {segment.key.episode} is not in the recording"
