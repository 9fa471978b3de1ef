"""The bench behind a stand-in driver: MuJoCo physics of our URDF, and drawn pictures of what is there.

It imports nothing of meld_core or meld_ros: the adapters under test use another model of the arm (MJCF from
meld_core/sim), so that the two check each other. Joint names, limits and efforts come from urdf/wx250s.urdf.xacro.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mujoco
import numpy as np
import xacro

ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGERS = ("left_finger", "right_finger")
SLEEP = (0.0, -1.80, 1.55, 0.0, 0.80, 0.0)
"""interbotix_xsarm_control/config/wx250s.yaml (branch humble): sleep_positions."""
_URDF = Path(__file__).resolve().parents[2] / "urdf" / "insertion.urdf.xacro"
_GAINS = (150.0, 300.0, 200.0, 60.0, 80.0, 30.0)
"""Stiff position servos [N m/rad]; a wx250s's own gains are not published in these units."""
_LAG = 0.05
"""Time constant of the servos [s]."""
_SLICE = 5
"""Steps of physics between two looks at the targets."""
_LONGEST = 5.0
"""Of more than this nothing is made up for [s]."""


def load_model() -> mujoco.MjModel:
    """The arm of the URDF with position servos."""
    spec = mujoco.MjSpec.from_string(xacro.process_file(str(_URDF)).toxml())
    spec.compiler.fusestatic = False
    spec.option.timestep = 0.002
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for body in spec.bodies:
        body.gravcomp = 1.0
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
    for joint in spec.joints:
        joint.armature = 0.02
        joint.damping = [0.1, 0, 0]
    for name, gain in [*zip(ARM, _GAINS, strict=True), *((finger, 200.0) for finger in FINGERS)]:
        servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=gain, kv=_LAG * gain)
    return spec.compile()


class Bench:
    """Physics in steps of steady time."""

    def __init__(self, start: tuple[float, ...] = SLEEP) -> None:
        self.model = load_model()
        self.data = mujoco.MjData(self.model)
        self._addresses = [self.model.joint(name).qposadr[0] for name in ARM]
        self._speeds = [self.model.joint(name).dofadr[0] for name in ARM]
        self._servos = [self.model.actuator(name).id for name in ARM]
        self._finger_addresses = [self.model.joint(name).qposadr[0] for name in FINGERS]
        self._finger_servos = [self.model.actuator(name).id for name in FINGERS]
        self.data.qpos[self._addresses] = start
        self.fingers = 0.020
        self.dead: int | None = None
        """Index of a joint whose motor is jammed."""
        self.live_port: np.ndarray | None = None
        self.ports: list[list[float]] = []
        self.depth = 0.010
        self.now = time.monotonic()
        """Steady time up to which physics has come [s]."""
        mujoco.mj_forward(self.model, self.data)

    @property
    def joints(self) -> np.ndarray:
        """(6,) [rad]."""
        return self.data.qpos[self._addresses].copy()

    @property
    def velocities(self) -> np.ndarray:
        """(6,) [rad/s]."""
        return self.data.qvel[self._speeds].copy()

    @property
    def finger_positions(self) -> np.ndarray:
        """(2,) [m]."""
        return self.data.qpos[self._finger_addresses].copy()

    @property
    def tip(self) -> np.ndarray:
        """Tip of the plug in base_link, (3,) [m]."""
        return self.data.body("plug_tip").xpos.copy()

    def set_task(self, text: str) -> None:
        """Take ports and live port from the JSON on topic `task`: the operator who plugs the cable of the live port."""
        task = json.loads(text)["task"]
        self.ports = task["ports"]
        self.live_port = np.array(self.ports[task["live"]])

    def seated(self) -> bool:
        """Whether the plug's tip is in the live port."""
        if self.live_port is None:
            return False
        offset = self.tip - self.live_port
        return bool(np.hypot(*offset[:2]) < 0.008 and offset[2] <= -self.depth)

    def advance(self, targets: Callable[[float], np.ndarray]) -> Iterator[float]:
        """Let physics catch up with steady time, in slices of 10 ms at most; yields the time at the end of each.

        A process that was not scheduled for a while goes on as one that was: each slice has the targets of its time.
        """
        until = time.monotonic()
        self.now = max(self.now, until - _LONGEST)
        while (steps := min(_SLICE, int((until - self.now) / self.model.opt.timestep))) > 0:
            self.now += steps * self.model.opt.timestep
            self._advance(targets(self.now), steps)
            yield self.now

    def _advance(self, targets: np.ndarray, steps: int) -> None:
        jammed = None if self.dead is None else self.data.qpos[self._addresses[self.dead]]
        self.data.ctrl[self._servos] = targets
        self.data.ctrl[self._finger_servos] = (self.fingers, -self.fingers)
        for _ in range(steps):
            mujoco.mj_step(self.model, self.data)
            if self.dead is not None:
                self.data.qpos[self._addresses[self.dead]] = jammed
                self.data.qvel[self._speeds[self.dead]] = 0.0
        mujoco.mj_kinematics(self.model, self.data)

    def policy_view(self, size: int) -> np.ndarray:
        """Drawn from above and from the side, one above the other: ports dark, tip blue; (2 size, size, 3) uint8."""
        picture = np.full((2 * size, size, 3), 200, np.uint8)
        for x, y, z in self.ports:
            _dot(picture[:size], (y + 0.12) / 0.24, (0.40 - x) / 0.20, 0.05, (20, 20, 25))
            _dot(picture[size:], (y + 0.12) / 0.24, (0.14 - z) / 0.14, 0.04, (20, 20, 25))
        x, y, z = self.tip
        _dot(picture[:size], (y + 0.12) / 0.24, (0.40 - x) / 0.20, 0.04, (25, 85, 235))
        _dot(picture[size:], (y + 0.12) / 0.24, (0.14 - z) / 0.14, 0.04, (25, 85, 235))
        return picture

    def detector_view(self, size: int) -> np.ndarray:
        """The link LED, lit while the plug is in the live port; (size, size, 3) uint8."""
        picture = np.full((size, size, 3), 120, np.uint8)
        _dot(picture, 0.5, 0.55, 0.08, (20, 255, 64) if self.seated() else (26, 41, 28))
        return picture


def _dot(picture: np.ndarray, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    size = picture.shape[0]
    rows, columns = np.ogrid[:size, : picture.shape[1]]
    picture[np.hypot(columns + 0.5 - x * size, rows + 0.5 - y * size) <= max(radius * size, 0.8)] = colour
