"""Numbers of the WidowX 250s (6 DOF): what simulation, kinematics and the real arm's limits share.

Joint origins, axes, limits, efforts, masses and inertias are those of Interbotix's URDF
(interbotix_ros_manipulators, branch humble, wx250s.urdf.xacro); servo gains are ours.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from meld_core.config import Config
from meld_core.types import Limits

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

FULL_TURN = math.pi - 1e-5
"""Limit of the three joints that turn fully [rad]."""
JOINT_SPEED = math.pi
"""Largest joint speed [rad/s], from the URDF and the servo register (30 rpm)."""
EE_GRIPPER = 0.043 + 0.023 + 0.027575
"""Interbotix's tool point, between the finger tips, along the gripper link's x [m]."""
PLUG_SIZE: Vector = (0.0430, 0.0234, 0.0160)
"""RJ45 plug at twice its size: along the gripper's x (length), y (width), z (height) [m]."""
PLUG_TIP = EE_GRIPPER + 0.035
"""Tip of the plug along the gripper link's x [m]: the tool point of all control."""
POINTING_DOWN = (0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5))
"""Tool orientation (x, y, z, w) whose x axis points down and whose y axis is that of base_link."""
NOMINAL_JOINTS = (0.0, -0.4, 0.4, 0.0, 1.57, 0.0)
"""Tool pointing down in front of the arm [rad]: where inverse kinematics starts from."""

YAWED: Quaternion = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))
"""A quarter turn about z (w, x, y, z): the frame of most of the URDF's inertias."""
STRAIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)
ROLLED: Quaternion = (0.0, 1.0, 0.0, 0.0)
"""Half a turn about x (w, x, y, z)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inertial:
    """Mass and its distribution."""

    mass: float
    """[kg]."""
    center: Vector
    """Centre of mass in the link frame [m]."""
    moments: Vector
    """Principal moments in the inertial frame [kg m^2]."""
    frame: Quaternion = YAWED
    """The inertial frame in the link frame (w, x, y, z)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """One moving link and the joint that carries it."""

    name: str
    joint: str
    origin: Vector
    """Joint origin in the parent link [m]."""
    axis: Vector
    lower: float
    upper: float
    """Joint limits [rad]."""
    effort: float
    """[N m]."""
    stiffness: float
    """Gain of the position servo [N m/rad]."""
    inertial: Inertial


BASE = Inertial(mass=0.538736, center=(-0.03804, 0.00061, 0.01934), moments=(0.002115, 0.0006921, 0.002524))
BAR = Inertial(mass=0.038539, center=(0.00969, 0, 0.00496), moments=(0.0000074, 0.0000284, 0.0000286))
"""Gripper bar and propeller together."""
FINGER = Inertial(mass=0.016246, center=(0.01382, 0, 0), moments=(0.0000047, 0.0000016, 0.0000037), frame=STRAIGHT)
PLUG = Inertial(mass=0.02, center=(0, 0, 0), moments=(0.0000013, 0.0000035, 0.000004), frame=STRAIGHT)

LINKS: tuple[Link, ...] = (
    Link(
        name="shoulder_link",
        joint="waist",
        origin=(0, 0, 0.072),
        axis=(0, 0, 1),
        lower=-FULL_TURN,
        upper=FULL_TURN,
        effort=10,
        stiffness=150,
        inertial=Inertial(mass=0.480879, center=(0, 0, 0.00663), moments=(0.000379, 0.0005557, 0.0005889)),
    ),
    Link(
        name="upper_arm_link",
        joint="shoulder",
        origin=(0, 0, 0.03865),
        axis=(0, 1, 0),
        lower=math.radians(-108),
        upper=math.radians(114),
        effort=20,
        stiffness=300,
        inertial=Inertial(mass=0.430811, center=(0.01716, 0, 0.19132), moments=(0.003463, 0.003587, 0.0004566)),
    ),
    Link(
        name="upper_forearm_link",
        joint="elbow",
        origin=(0.04975, 0, 0.25),
        axis=(0, 1, 0),
        lower=math.radians(-123),
        upper=math.radians(92),
        effort=15,
        stiffness=200,
        inertial=Inertial(
            mass=0.234589, center=(0.10796, 0.00012, 0), moments=(0.0000397, 0.0008878, 0.000888), frame=STRAIGHT
        ),
    ),
    Link(
        name="lower_forearm_link",
        joint="forearm_roll",
        origin=(0.175, 0, 0),
        axis=(1, 0, 0),
        lower=-FULL_TURN,
        upper=FULL_TURN,
        effort=2,
        stiffness=60,
        inertial=Inertial(
            mass=0.220991, center=(0.03744, 0.00522, 0), moments=(0.0000637, 0.0001677, 0.0001834), frame=ROLLED
        ),
    ),
    Link(
        name="wrist_link",
        joint="wrist_angle",
        origin=(0.075, 0, 0),
        axis=(0, 1, 0),
        lower=math.radians(-100),
        upper=math.radians(123),
        effort=5,
        stiffness=80,
        inertial=Inertial(mass=0.084957, center=(0.04236, 0, 0.01058), moments=(0.0000308, 0.0000282, 0.0000315)),
    ),
    Link(
        name="gripper_link",
        joint="wrist_rotate",
        origin=(0.065, 0, 0),
        axis=(1, 0, 0),
        lower=-FULL_TURN,
        upper=FULL_TURN,
        effort=1,
        stiffness=30,
        inertial=Inertial(mass=0.072885, center=(0.02163, 0, 0.01141), moments=(0.0000254, 0.0000184, 0.0000167)),
    ),
)
"""The six moving links, from the base to the gripper."""

JOINT_NAMES = tuple(link.joint for link in LINKS)


def joint_limits() -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper joint limits, (6,) [rad] each."""
    return np.array([link.lower for link in LINKS]), np.array([link.upper for link in LINKS])


def workspace(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner of the box in which the tool may move, (3,) [m] in base_link each."""
    center, size = np.array(config.task.box_center), np.array(config.robot.workspace_size)
    lower = center - size / 2
    lower[2] = center[2] - config.robot.workspace_below
    return lower, lower + size


def arm_limits(config: Config) -> Limits:
    """Limits of the WidowX 250s on this bench, simulated or real."""
    lower, upper = workspace(config)
    joint_lower, joint_upper = joint_limits()
    return Limits(
        joint_names=JOINT_NAMES,
        joint_lower=joint_lower,
        joint_upper=joint_upper,
        joint_velocity=np.full(len(JOINT_NAMES), min(JOINT_SPEED, config.gate.max_joint_speed)),
        workspace_lower=lower,
        workspace_upper=upper,
        step_size=config.robot.step_size,
        control_period=config.robot.control_period,
    )
