"""Our own MuJoCo model of the WidowX 250s (6 DOF), from primitive shapes.

Joint origins, axes, limits, efforts, masses and inertias are the numbers of Interbotix's URDF
(interbotix_ros_manipulators, branch humble, wx250s.urdf.xacro); no mesh is copied. Servo gains are ours.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

Vector = tuple[float, float, float]

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

_YAWED = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))
_STRAIGHT = (1.0, 0.0, 0.0, 0.0)
_ROLLED = (0.0, 1.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
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
    mass: float
    """[kg]."""
    center_of_mass: Vector
    """In the link frame [m]."""
    inertia: Vector
    """Principal moments in the inertial frame [kg m^2]."""
    inertia_frame: tuple[float, float, float, float]
    """Quaternion w, x, y, z of the inertial frame in the link frame."""
    shapes: str
    """What one sees of it, as MJCF geoms."""


def _capsule(material: str, radius: float, start: str, end: str) -> str:
    return f'<geom class="visual" type="capsule" material="{material}" size="{radius}" fromto="{start} {end}"/>'


def _cylinder(material: str, radius: float, start: str, end: str) -> str:
    return f'<geom class="visual" type="cylinder" material="{material}" size="{radius}" fromto="{start} {end}"/>'


def _box(material: str, size: str, position: str) -> str:
    return f'<geom class="visual" type="box" material="{material}" size="{size}" pos="{position}"/>'


LINKS: tuple[Link, ...] = (
    Link(
        "shoulder_link", "waist", (0, 0, 0.072), (0, 0, 1), -FULL_TURN, FULL_TURN, 10, 150,
        0.480879, (0, 0, 0.00663), (0.000379, 0.0005557, 0.0005889), _YAWED,
        _cylinder("metal", 0.045, "0 0 -0.004", "0 0 0.012") + _box("body", "0.028 0.024 0.028", "0 0 0.036"),
    ),
    Link(
        "upper_arm_link", "shoulder", (0, 0, 0.03865), (0, 1, 0), math.radians(-108), math.radians(114), 20, 300,
        0.430811, (0.01716, 0, 0.19132), (0.003463, 0.003587, 0.0004566), _YAWED,
        _cylinder("metal", 0.026, "0 -0.038 0", "0 0.038 0")
        + _capsule("body", 0.022, "0 0 0.02", "0 0 0.24") + _capsule("body", 0.02, "0 0 0.25", "0.04975 0 0.25"),
    ),
    Link(
        "upper_forearm_link", "elbow", (0.04975, 0, 0.25), (0, 1, 0), math.radians(-123), math.radians(92), 15, 200,
        0.234589, (0.10796, 0.00012, 0), (0.0000397, 0.0008878, 0.000888), _STRAIGHT,
        _cylinder("metal", 0.024, "0 -0.035 0", "0 0.035 0") + _capsule("body", 0.019, "0.02 0 0", "0.16 0 0"),
    ),
    Link(
        "lower_forearm_link", "forearm_roll", (0.175, 0, 0), (1, 0, 0), -FULL_TURN, FULL_TURN, 2, 60,
        0.220991, (0.03744, 0.00522, 0), (0.0000637, 0.0001677, 0.0001834), _ROLLED,
        _cylinder("metal", 0.021, "0 0 0", "0.012 0 0") + _capsule("body", 0.018, "0.012 0 0", "0.07 0 0"),
    ),
    Link(
        "wrist_link", "wrist_angle", (0.075, 0, 0), (0, 1, 0), math.radians(-100), math.radians(123), 5, 80,
        0.084957, (0.04236, 0, 0.01058), (0.0000308, 0.0000282, 0.0000315), _YAWED,
        _cylinder("metal", 0.019, "0 -0.026 0", "0 0.026 0") + _box("body", "0.026 0.017 0.017", "0.032 0 0"),
    ),
    Link(
        "gripper_link", "wrist_rotate", (0.065, 0, 0), (1, 0, 0), -FULL_TURN, FULL_TURN, 1, 30,
        0.072885, (0.02163, 0, 0.01141), (0.0000254, 0.0000184, 0.0000167), _YAWED,
        _cylinder("metal", 0.019, "0 0 0", "0.01 0 0") + _box("body", "0.0165 0.02 0.016", "0.0265 0 0"),
    ),
)
"""The six moving links, from the base to the gripper."""

JOINT_NAMES = tuple(link.joint for link in LINKS)

DEFAULTS = """
  <default>
    <joint armature="0.02" damping="0.1"/>
    <geom condim="4" solref="0.01 1" solimp="0.95 0.99 0.001" friction="0.4 0.005 0.0001"/>
    <default class="visual"><geom contype="0" conaffinity="0" mass="0"/></default>
    <default class="moving"><geom contype="1" conaffinity="2"/></default>
    <default class="standing"><geom contype="2" conaffinity="1"/></default>
  </default>"""
"""Contacts are made between moving and standing parts only."""

MATERIALS = """
    <material name="body" rgba="0.17 0.18 0.21 1" specular="0.25" shininess="0.4"/>
    <material name="metal" rgba="0.62 0.64 0.68 1" specular="0.4" shininess="0.6"/>
    <material name="finger" rgba="0.93 0.62 0.16 1" specular="0.1"/>
    <material name="plug" rgba="0.10 0.33 0.92 1" specular="0.2"/>
    <material name="pin" rgba="0.98 0.82 0.25 1" specular="0.5"/>"""


def joint_limits() -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper joint limits, (6,) [rad] each."""
    return np.array([link.lower for link in LINKS]), np.array([link.upper for link in LINKS])


def arm_bodies() -> str:
    """The arm as MJCF bodies below base_link, with sites `ee_gripper` and `tool` and the camera `wrist`."""
    inner = _gripper_contents()
    for link in reversed(LINKS):
        inner = _body(link, inner)
    base = (
        _inertial(0.538736, (-0.03804, 0.00061, 0.01934), (0.002115, 0.0006921, 0.002524), _YAWED)
        + _box("body", "0.09 0.055 0.014", "-0.03 0 0.014")
        + _cylinder("body", 0.048, "0 0 0.028", "0 0 0.068")
    )
    return f'<body name="base_link" gravcomp="1">{base}{inner}</body>'


def actuators() -> str:
    """Position servos of all joints as MJCF."""
    return "\n".join(
        f'<position name="{link.joint}" joint="{link.joint}" kp="{link.stiffness}" dampratio="1" '
        f'forcerange="{-link.effort} {link.effort}" inheritrange="1"/>'
        for link in LINKS
    )


def arm_xml() -> str:
    """The arm alone, for kinematics."""
    return f"""<mujoco model="wx250s">
  <compiler angle="radian"/>{DEFAULTS}
  <asset>{MATERIALS}</asset>
  <worldbody>{arm_bodies()}</worldbody>
</mujoco>"""


def _body(link: Link, inner: str) -> str:
    joint = (
        f'<joint name="{link.joint}" axis="{_text(link.axis)}" range="{link.lower} {link.upper}" limited="true"/>'
    )
    inertial = _inertial(link.mass, link.center_of_mass, link.inertia, link.inertia_frame)
    start = f'<body name="{link.name}" pos="{_text(link.origin)}" gravcomp="1">'
    return f"{start}{joint}{inertial}{link.shapes}{inner}</body>"


def _inertial(mass: float, position: Vector, inertia: Vector, frame: tuple[float, ...]) -> str:
    return f'<inertial mass="{mass}" pos="{_text(position)}" diaginertia="{_text(inertia)}" quat="{_text(frame)}"/>'


def _gripper_contents() -> str:
    """Horn, bar and fingers (closed on the plug), the plug, tool sites and the wrist camera."""
    length, width, height = (s / 2 for s in PLUG_SIZE)
    bar = 0.043 + 0.023
    grip = width + 0.004
    fingers = "".join(
        f'<body name="{side}_finger_link" pos="{bar} {sign * grip} 0" gravcomp="1">'
        + _inertial(0.016246, (0.01382, 0, 0), (0.0000047, 0.0000016, 0.0000037), _STRAIGHT)
        + '<geom class="moving" type="box" material="finger" size="0.017 0.004 0.007" pos="0.017 0 0"/></body>'
        for side, sign in (("left", 1), ("right", -1))
    )
    pins = "".join(
        _box("pin", "0.005 0.0016 0.0004", f"{length - 0.005} {(i - 1.5) * 0.0048} {height}") for i in range(4)
    )
    return f"""
      <body name="gripper_bar_link" pos="0.043 0 0" gravcomp="1">
        {_inertial(0.034199 + 0.00434, (0.00969, 0, 0.00496), (0.0000074, 0.0000284, 0.0000286), _YAWED)}
        {_box("metal", "0.010 0.045 0.009", "0.012 0 0")}
      </body>
      {fingers}
      <body name="plug" pos="{PLUG_TIP - length} 0 0" gravcomp="1">
        <inertial mass="0.02" pos="0 0 0" diaginertia="0.0000013 0.0000035 0.000004"/>
        <geom name="plug" class="moving" type="box" material="plug" size="{length} {width} {height}"/>
        {pins}
      </body>
      <geom class="visual" type="box" material="body" size="0.012 0.012 0.006" pos="0.030 0 -0.068"/>
      <geom class="visual" type="box" material="metal" size="0.006 0.008 0.028" pos="0.024 0 -0.040"/>
      <camera name="wrist" pos="0.044 0 -0.068" xyaxes="0 -1 0 -0.60 0 1" fovy="70"/>
      <site name="ee_gripper" pos="{EE_GRIPPER} 0 0" size="0.001" group="5"/>
      <site name="tool" pos="{PLUG_TIP} 0 0" size="0.001" group="5"/>"""


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{n:.10g}" for n in numbers)
