"""Forward and inverse kinematics of the WidowX 250s by mink on our arm model: for the simulation and the real arm."""

from __future__ import annotations

import numpy as np

from meld_core.sim.arm import JOINT_NAMES, NOMINAL_JOINTS, joint_limits
from meld_core.sim.arm_model import arm_xml
from meld_core.sim.engine import mujoco

import mink  # isort: skip  (imports mujoco, which engine imports with graphics switched off)

_MAX_ITERATIONS = 30
_POSITION_TOLERANCE = 2e-5
"""[m]."""
_ORIENTATION_TOLERANCE = 2e-4
"""[rad]."""


class KinematicsError(ValueError):
    """A pose that the arm cannot take; its text is one clear sentence."""


class ArmKinematics:
    """Poses of the plug's tip in base_link from joint angles and back."""

    def __init__(self) -> None:
        self._configuration = mink.Configuration(mujoco.MjModel.from_xml_string(arm_xml()))
        self._task = mink.FrameTask("tool", "site", position_cost=1.0, orientation_cost=0.2)
        self._limits = [mink.ConfigurationLimit(self._configuration.model, gain=1.0)]
        self._lower, self._upper = joint_limits()

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint angles (6,) [rad] → tool position (3,) [m] and orientation (4,) quaternion x, y, z, w."""
        self._configuration.update(_checked(joints, len(JOINT_NAMES), "joint angles"))
        pose = self._configuration.get_transform_frame_to_world("tool", "site")
        w, x, y, z = pose.rotation().wxyz
        return pose.translation(), np.array([x, y, z, w])

    def inverse(self, position: np.ndarray, orientation: np.ndarray, seed: np.ndarray | None = None) -> np.ndarray:
        """Joint angles (6,) [rad] within their limits that bring the tool to a pose, close to `seed`.

        Args:
            position: (3,) [m] in base_link.
            orientation: (4,) quaternion x, y, z, w.
            seed: (6,) [rad] where the search starts, else `NOMINAL_JOINTS`; the result depends on nothing else.

        Raises:
            KinematicsError: if the pose cannot be reached to 0.02 mm and 0.2 mrad.
        """
        x, y, z, w = _checked(orientation, 4, "orientation")
        target = _checked(position, 3, "position")
        self._task.set_target(mink.SE3(np.array([w, x, y, z, *target])))
        start = np.array(NOMINAL_JOINTS) if seed is None else _checked(seed, len(JOINT_NAMES), "seed joints")
        self._configuration.update(np.clip(start, self._lower, self._upper))
        for _ in range(_MAX_ITERATIONS):
            if self._arrived():
                return np.asarray(np.clip(self._configuration.q, self._lower, self._upper))
            velocity = mink.solve_ik(self._configuration, [self._task], 1.0, "daqp", 1e-9, limits=self._limits)
            self._configuration.integrate_inplace(velocity, 1.0)
        raise KinematicsError(f"the arm cannot bring its tool to {np.round(target, 4).tolist()} m in that orientation")

    def _arrived(self) -> bool:
        error = self._task.compute_error(self._configuration)
        at_place = np.abs(error[:3]).max() < _POSITION_TOLERANCE
        return bool(at_place and np.abs(error[3:]).max() < _ORIENTATION_TOLERANCE)


def _checked(values: np.ndarray, size: int, what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise KinematicsError(f"{what} must be {size} finite numbers, got {array.tolist()}")
    return array
