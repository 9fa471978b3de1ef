"""ScriptedSearch: the demonstrator. Tries ports from the middle of the row outwards until it is paid, and stays there.

It knows where the ports are (taught poses) but neither which one is live nor anything of earlier episodes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from meld_core.config import Config
from meld_core.tasks import Task, in_port_frame, seated

_FUNNEL = ((0.0025, 0.005, 0.007), (-0.060, 0.004, 0.008))
"""Height over the mouth to aim for, by lateral distance from the port's axis [m], linear in between.

Without a step in it, and far below the seat on the axis, so that an imitator's small errors are undone, not held: with
"stay up until aligned, then go down to the seat" it came to rest above the port, or a millimetre short of the seat.
"""
_FREE = 0.002
"""Sideways as long as the tip is less deep than this below the mouths [m], ever slower."""


class ScriptedSearch:
    """Goes for the first port that was not tried in this episode; tried is a port in which the plug was seated.

    The order is fixed, not by distance: halfway between two ports the nearest is a matter of noise, and who imitates
    both choices stays where it is.

    It goes by where the tip is and by what was tried, so that it can as well say what it would do in the course of
    somebody else's episode.
    """

    def __init__(self, task: Task, config: Config) -> None:
        self._task, self._config = task, config
        self.begin_episode()

    def begin_episode(self) -> None:
        """Forget which ports were tried, and which one paid."""
        self._tried: set[int] = set()
        self._paid: int | None = None

    def act(self, tool_position: np.ndarray, paid: bool = False) -> np.ndarray:
        """Tool displacement (3,) float32 in [-1, 1], without noise, with the tip at (3,) [m] in base_link.

        Args:
            tool_position: Where the tip is.
            paid: Whether a reward came with this observation: the search is over, where an episode goes on after it.
        """
        tool = np.asarray(tool_position, np.float64)
        now = [p for p in range(len(self._task.ports)) if seated(tool, self._task, p, self._config.task)]
        if paid and now:
            self._paid = now[0]
        return self.toward(tool, self.choose(now) if self._paid is None else self._paid)

    def choose(self, seated_in: Iterable[int]) -> int:
        """The port to go for, with the plug seated in these now (one or none)."""
        self._tried.update(seated_in)
        return self._first_untried()

    def toward(self, tool_position: np.ndarray, port: int) -> np.ndarray:
        """Tool displacement (..., 3) float32 in [-1, 1] on the way into a port, up first from below the mouths."""
        tool, mouth = np.asarray(tool_position, np.float64), np.asarray(self._task.ports[port])
        offset = in_port_frame(tool, self._task, port)
        lateral = np.abs(offset[..., :2]).max(axis=-1)
        move = mouth - tool
        outside = lateral > self._config.task.clearance + 0.0025  # sideways only over the mouths
        move[..., :2] *= np.where(outside, np.clip(1.0 + offset[..., 2] / _FREE, 0.0, 1.0), 1.0)[..., None]
        move[..., 2] = np.interp(lateral, *_FUNNEL) - offset[..., 2]
        return np.clip(move / self._config.robot.step_size, -1.0, 1.0).astype(np.float32)

    def _first_untried(self) -> int:
        """From the middle of the row outwards; from the start again once every port was tried."""
        ports = range(len(self._task.ports))
        if len(self._tried) == len(ports):
            self._tried.clear()
        middle = (len(ports) - 1) / 2
        return min((p for p in ports if p not in self._tried), key=lambda p: (abs(p - middle), p))
