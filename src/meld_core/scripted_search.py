"""ScriptedSearch: the demonstrator. Tries ports in order of distance until the link comes up.

It knows where the ports are (taught poses) but neither which one is live nor anything of earlier episodes.
"""

from __future__ import annotations

import enum

import numpy as np

from meld_core.config import Config
from meld_core.tasks import Task, in_port_frame, seated
from meld_core.types import RobotState

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
    """Nearest port first; a port in which the plug was seated without success is not tried again in this episode."""

    def __init__(self, task: Task, config: Config) -> None:
        self._task, self._config = task, config
        self._tried: set[int] = set()
        self._goal: int | None = None

    def begin_episode(self) -> None:
        """Forget which ports were tried."""
        self._tried, self._goal = set(), None

    def act(self, state: RobotState) -> np.ndarray:
        """Tool displacement (3,) float32 in [-1, 1], without noise."""
        tool = np.asarray(state.tool_position)
        phase = self._choose(tool)
        assert self._goal is not None
        target = self._target(tool, phase, np.asarray(self._task.ports[self._goal]))
        step = (target - tool) / self._config.robot.step_size
        return np.clip(step, -1.0, 1.0).astype(np.float32)

    def _choose(self, tool: np.ndarray) -> _Phase:
        """Pick the port to go for; RETREAT while the plug still has to come up from a port that was not live."""
        if self._goal is not None and bool(seated(tool, self._task, self._goal, self._config.task)):
            self._tried.add(self._goal)
            self._goal = None
        if self._goal is None:
            self._goal = self._nearest(tool)
        offset = in_port_frame(tool, self._task, self._goal)
        low_and_off = offset[2] < _FREE and np.abs(offset[:2]).max() > _ALIGNED + self._config.task.clearance
        return _Phase.RETREAT if low_and_off else _Phase.APPROACH

    def _nearest(self, tool: np.ndarray) -> int:
        ports = range(len(self._task.ports))
        if len(self._tried) == len(self._task.ports):
            self._tried.clear()
        distance = [np.linalg.norm(tool[:2] - np.asarray(self._task.ports[p])[:2]) for p in ports]
        return min((p for p in ports if p not in self._tried), key=lambda p: distance[p])

    def _target(self, tool: np.ndarray, phase: _Phase, mouth: np.ndarray) -> np.ndarray:
        if phase is _Phase.RETREAT:
            return np.array([tool[0], tool[1], mouth[2] + _HOVER])
        aligned = np.abs(in_port_frame(tool, self._task, self._goal or 0)[:2]).max() < _ALIGNED + 0.001
        below = mouth[2] - self._config.task.depth - 0.004
        return np.array([mouth[0], mouth[1], below if aligned else max(tool[2], mouth[2] + _FREE)])
