"""ScriptedSearch: the demonstrator. Tries ports from the middle of the row outwards until the link comes up.

It knows where the ports are (taught poses) but neither which one is live nor anything of earlier episodes.
"""

from __future__ import annotations

import enum

import numpy as np

from meld_core.config import Config
from meld_core.tasks import Task, in_port_frame, seated

_HOVER = 0.012
"""Travel between ports this high above the mouths [m]."""
_ALIGNED = 0.0025
"""Go down once the tip is laterally this close to the port's axis [m]."""
_FREE = 0.004
"""Above this height over the mouths the tip may move sideways [m]."""


class _Phase(enum.Enum):
    APPROACH = "approach"
    RETREAT = "retreat"


class ScriptedSearch:
    """Goes for the first port that was not tried in this episode; tried is a port in which the plug was seated.

    The order is fixed, not by distance: halfway between two ports the nearest is a matter of noise, and who imitates
    both choices stays where it is.

    It goes by where the tip is and by what was tried, so that it can as well say what it would do in the course of
    somebody else's episode.
    """

    def __init__(self, task: Task, config: Config) -> None:
        self._task, self._config = task, config
        self._tried: set[int] = set()

    def begin_episode(self) -> None:
        """Forget which ports were tried."""
        self._tried = set()

    def act(self, tool_position: np.ndarray) -> np.ndarray:
        """Tool displacement (3,) float32 in [-1, 1], without noise, with the tip at (3,) [m] in base_link."""
        tool = np.asarray(tool_position, np.float64)
        ports = range(len(self._task.ports))
        self._tried |= {p for p in ports if bool(seated(tool, self._task, p, self._config.task))}
        return self.toward(tool, self._first_untried())

    def toward(self, tool_position: np.ndarray, port: int) -> np.ndarray:
        """Tool displacement (3,) float32 in [-1, 1] on the way into a port, up first from below the mouths."""
        tool = np.asarray(tool_position, np.float64)
        offset = in_port_frame(tool, self._task, port)
        low_and_off = offset[2] < _FREE and np.abs(offset[:2]).max() > _ALIGNED + self._config.task.clearance
        target = self._target(tool, _Phase.RETREAT if low_and_off else _Phase.APPROACH, port)
        return np.clip((target - tool) / self._config.robot.step_size, -1.0, 1.0).astype(np.float32)

    def _first_untried(self) -> int:
        """From the middle of the row outwards; from the start again once every port was tried."""
        ports = range(len(self._task.ports))
        if len(self._tried) == len(ports):
            self._tried.clear()
        middle = (len(ports) - 1) / 2
        return min((p for p in ports if p not in self._tried), key=lambda p: (abs(p - middle), p))

    def _target(self, tool: np.ndarray, phase: _Phase, goal: int) -> np.ndarray:
        mouth = np.asarray(self._task.ports[goal])
        if phase is _Phase.RETREAT:
            return np.array([tool[0], tool[1], mouth[2] + _HOVER])
        aligned = np.abs(in_port_frame(tool, self._task, goal)[:2]).max() < _ALIGNED + 0.001
        below = mouth[2] - self._config.task.depth - 0.004
        return np.array([mouth[0], mouth[1], below if aligned else max(tool[2], mouth[2] + _FREE)])
