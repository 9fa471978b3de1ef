"""TrialClock: when an episode ends, when a trial ends, and which flags every row carries."""

from __future__ import annotations

import dataclasses

from meld_core.config import TaskConfig


@dataclasses.dataclass(frozen=True)
class RowFlags:
    """Where in its trial a row stands. Four flags, four meanings."""

    episode: int
    step: int
    first_in_trial: bool
    first_in_episode: bool
    terminal: bool
    """Nothing follows: the trial ended by success."""
    truncated: bool
    """The trial was cut here by its time limit."""
    last_in_episode: bool
    last_in_trial: bool


class TrialClock:
    """Counts rows of a trial of K episodes of at most T steps (T+1 rows).

    `end_on_success` ends an episode at its first success; `fixed_length` always runs T steps. The belief is kept
    across episodes and forgotten at `first_in_trial`, nowhere else.
    """

    def __init__(self, config: TaskConfig) -> None:
        self._config = config
        self._episode = 0
        self._step = -1

    @property
    def episode(self) -> int:
        """Index of the episode that the next row belongs to."""
        return self._episode

    def begin_trial(self) -> None:
        """Forget everything; the next row is first in its trial."""
        self._episode, self._step = 0, -1

    def row(self, success: bool) -> RowFlags:
        """Count one row on arrival at its observation.

        Raises:
            RuntimeError: when the trial is over.
        """
        config = self._config
        if self._episode >= config.episodes:
            raise RuntimeError("the trial is over; call begin_trial")
        self._step += 1
        ends_by_success = success and self._step > 0 and config.episode_form == "end_on_success"
        last = ends_by_success or self._step == config.horizon
        last_in_trial = last and self._episode == config.episodes - 1
        flags = RowFlags(
            episode=self._episode,
            step=self._step,
            first_in_trial=self._episode == 0 and self._step == 0,
            first_in_episode=self._step == 0,
            terminal=last_in_trial and ends_by_success,
            truncated=last_in_trial and not ends_by_success,
            last_in_episode=last,
            last_in_trial=last_in_trial,
        )
        if last:
            self._episode, self._step = self._episode + 1, -1
        return flags
