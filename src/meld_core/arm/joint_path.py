"""Paths of the arm: where resets and parking lead, and how fast. Pure geometry."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from meld_core.config import Config, ConfigError
from meld_core.kinematics import ArmKinematics, KinematicsError
from meld_core.sim.arm import POINTING_DOWN
from meld_core.tasks import SPLITS, Task
from meld_core.types import Limits

_STRIDE = 0.02
"""Tool positions along a straight line lie this close together [m]."""
_RATE = 0.05
"""Time between the points of a path [s]."""
_SHORTEST = 0.3
"""No path takes less time [s]."""
_PEAK = math.pi / 2
"""Largest speed of half a cosine from standstill to standstill, over its mean; of cubics and time profiles: 1.5."""
_START_BELOW_TOP = 0.012
"""The start pose lies this much below the top of the workspace [m]."""
_LIFT_REACH = 0.05
"""A tool this close to the workspace may be in a port and is lifted straight up first [m]."""


@dataclasses.dataclass(frozen=True)
class JointPath:
    """Joint positions over time, from standstill to standstill."""

    times: np.ndarray
    """(N,) [s] after its start, rising; the first point is not at 0 but after the first part of the way."""
    positions: np.ndarray
    """(N, J) [rad]."""
    velocities: np.ndarray
    """(N, J) [rad/s]; zero at the end."""

    @property
    def duration(self) -> float:
        """[s]."""
        return float(self.times[-1])

    @property
    def goal(self) -> np.ndarray:
        """(J,) [rad]."""
        return np.asarray(self.positions[-1])

    def at(self, elapsed: float, start: np.ndarray) -> np.ndarray:
        """Where the path, begun at `start` (J,) [rad], wants the joints after so many seconds: (J,) [rad].

        A controller joins the points by cubics that agree in velocity (joint_trajectory_controller, "cubic"); between
        points that are close together this half cosine per part is within a hundredth of the part's length.
        """
        times = np.concatenate([[0.0], self.times])
        points = np.vstack([start, self.positions])
        if len(self.times) == 1:
            share = min(max(elapsed / self.duration, 0.0), 1.0)
            elapsed = self.duration * (0.5 - 0.5 * math.cos(math.pi * share))
        return np.array([np.interp(elapsed, times, column) for column in points.T])


def one_point(goal: np.ndarray, duration: float) -> JointPath:
    """Be there, at rest, after so many seconds."""
    return JointPath(np.array([duration]), goal[None].copy(), np.zeros((1, len(goal))))


def smooth_path(corners: np.ndarray, speed: float) -> JointPath:
    """Along straight lines in joint space, with a half cosine over the whole way.

    Args:
        corners: (N, J) [rad], the first is where the arm is.
        speed: Mean speed of the fastest joint [rad/s].
    """
    lengths = np.abs(np.diff(corners, axis=0)).max(axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    total = max(_SHORTEST, along[-1] / speed)
    count = max(2, math.ceil(total / _RATE))
    times = total * np.arange(1, count + 1) / count
    way = along[-1] * (0.5 - 0.5 * np.cos(np.pi * times / total))
    positions = np.stack([np.interp(way, along, column) for column in corners.T], axis=1)
    velocities = np.gradient(np.vstack([corners[:1], positions]), total / count, axis=0)[1:]
    velocities[-1] = 0.0
    return JointPath(times, positions, velocities)


def start_position(config: Config, limits: Limits, task: Task, resets: int) -> np.ndarray:
    """Where an episode begins, (3,) [m]: drawn anew for every task and reset, the same in simulation and on an arm."""
    lower, upper = limits.workspace_lower, limits.workspace_upper
    home = np.array([*(lower + upper)[:2] / 2, upper[2] - _START_BELOW_TOP])
    rng = np.random.default_rng([SPLITS.index(task.split), task.seed, 2, resets])
    margin = config.gate.workspace_margin
    noise = config.sim.start_noise * rng.uniform(-1, 1, 3)
    return np.asarray(np.clip(home + noise, lower + margin, upper - margin))


def clamped_step(action: np.ndarray, tool: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """An action (3,) float32 into [-1, 1] and the workspace; components that fit stay bit for bit.

    Returns:
        The clamped action (3,) float32, and where it takes the tool from `tool`, (3,) [m].
    """
    command = np.clip(action, np.float32(-1), np.float32(1))
    wanted = tool + command.astype(np.float64) * limits.step_size
    target = np.clip(wanted, limits.workspace_lower, limits.workspace_upper)
    back = np.clip((target - tool) / limits.step_size, -1, 1)  # the way back from outside is a step, too
    command = np.where(target == wanted, command, back).astype(np.float32)
    return command, tool + command.astype(np.float64) * limits.step_size


class PathPlanner:
    """Ways to the start pose and to the rest pose that first leave whatever the plug is in, straight up."""

    def __init__(self, limits: Limits, kinematics: ArmKinematics) -> None:
        self._limits, self._kinematics = limits, kinematics

    def step(self, target: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Joints (J,) [rad] for a tool position (3,) [m] near by, no further than joint speeds allow.

        Raises:
            KinematicsError: where the arm cannot reach it.
        """
        goal = self._kinematics.inverse(target, np.array(POINTING_DOWN), joints)
        reach = self._limits.joint_velocity * self._limits.control_period / _PEAK
        return np.asarray(np.clip(goal, joints - reach, joints + reach))

    def to_start(self, joints: np.ndarray, start: np.ndarray, speed: float) -> JointPath:
        """From joints (J,) [rad] to a tool position (3,) [m] inside the workspace, tool pointing down.

        Raises:
            KinematicsError: where the arm cannot do that.
        """
        corners = self._lift(joints)
        above = np.array([*start[:2], self._top()])
        lifted = self._kinematics.forward(corners[-1])[0]
        if len(corners) > 1 or self._near_workspace(lifted):
            corners += self._line(lifted, above, corners[-1])
        else:
            corners.append(self._kinematics.inverse(above, np.array(POINTING_DOWN)))
        corners += self._line(above, start, corners[-1])
        return smooth_path(np.array(corners), self._allowed(speed))

    def to_rest(self, joints: np.ndarray, rest: np.ndarray, speed: float) -> JointPath:
        """From joints (J,) [rad] to the rest pose (J,) [rad]."""
        return smooth_path(np.array([*self._lift(joints), rest]), self._allowed(speed))

    def _allowed(self, speed: float) -> float:
        """A mean speed with which no joint exceeds its largest one [rad/s]."""
        return min(speed, float(self._limits.joint_velocity.min()) / _PEAK)

    def _top(self) -> float:
        return float(self._limits.workspace_upper[2])

    def _near_workspace(self, tool: np.ndarray) -> bool:
        lower, upper = self._limits.workspace_lower - _LIFT_REACH, self._limits.workspace_upper + _LIFT_REACH
        return bool(((tool >= lower) & (tool <= upper)).all())

    def _lift(self, joints: np.ndarray) -> list[np.ndarray]:
        """Where the arm is, and the way straight up if the tool is low in the workspace."""
        tool, orientation = self._kinematics.forward(joints)
        corners = [np.asarray(joints, np.float64)]
        if self._near_workspace(tool) and tool[2] < self._top():
            corners += self._line(tool, np.array([*tool[:2], self._top()]), joints, orientation)
        return corners

    def _line(
        self, start: np.ndarray, end: np.ndarray, joints: np.ndarray, orientation: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Joints along a straight line of the tool, pointing down or as it points now; without the start."""
        points = max(1, math.ceil(float(np.linalg.norm(end - start)) / _STRIDE))
        pose = np.array(POINTING_DOWN) if orientation is None else orientation
        corners = []
        for share in np.arange(1, points + 1) / points:
            joints = self._kinematics.inverse(start + share * (end - start), pose, joints)
            corners.append(joints)
        return corners


def check_reach(kinematics: ArmKinematics, limits: Limits) -> None:
    """Raise ConfigError naming a corner of the workspace that the tool, pointing down, cannot reach."""
    for corner in itertools.product(*zip(limits.workspace_lower, limits.workspace_upper, strict=True)):
        try:
            kinematics.inverse(np.array(corner), np.array(POINTING_DOWN))
        except KinematicsError:
            raise ConfigError(
                f"the arm cannot reach the workspace corner {np.round(corner, 3).tolist()} m "
                f"with its tool pointing down [settings: task.box_center, robot.workspace_size]"
            ) from None
