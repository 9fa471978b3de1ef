"""Our own MuJoCo model of the WidowX 250s, from the numbers of `arm.py` and primitive shapes."""

from __future__ import annotations

from meld_core.sim.arm import BAR, BASE, EE_GRIPPER, FINGER, LINKS, PLUG, PLUG_SIZE, PLUG_TIP, Inertial, Link

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


def _capsule(material: str, radius: float, start: str, end: str) -> str:
    return f'<geom class="visual" type="capsule" material="{material}" size="{radius}" fromto="{start} {end}"/>'


def _cylinder(material: str, radius: float, start: str, end: str) -> str:
    return f'<geom class="visual" type="cylinder" material="{material}" size="{radius}" fromto="{start} {end}"/>'


def _box(material: str, size: str, position: str) -> str:
    return f'<geom class="visual" type="box" material="{material}" size="{size}" pos="{position}"/>'


SHAPES: dict[str, str] = {
    "base_link": _box("body", "0.09 0.055 0.014", "-0.03 0 0.014") + _cylinder("body", 0.048, "0 0 0.028", "0 0 0.068"),
    "shoulder_link": _cylinder("metal", 0.045, "0 0 -0.004", "0 0 0.012")
    + _box("body", "0.028 0.024 0.028", "0 0 0.036"),
    "upper_arm_link": _cylinder("metal", 0.026, "0 -0.038 0", "0 0.038 0")
    + _capsule("body", 0.022, "0 0 0.02", "0 0 0.24")
    + _capsule("body", 0.02, "0 0 0.25", "0.04975 0 0.25"),
    "upper_forearm_link": _cylinder("metal", 0.024, "0 -0.035 0", "0 0.035 0")
    + _capsule("body", 0.019, "0.02 0 0", "0.16 0 0"),
    "lower_forearm_link": _cylinder("metal", 0.021, "0 0 0", "0.012 0 0")
    + _capsule("body", 0.018, "0.012 0 0", "0.07 0 0"),
    "wrist_link": _cylinder("metal", 0.019, "0 -0.026 0", "0 0.026 0") + _box("body", "0.026 0.017 0.017", "0.032 0 0"),
    "gripper_link": _cylinder("metal", 0.019, "0 0 0", "0.01 0 0") + _box("body", "0.0165 0.02 0.016", "0.0265 0 0"),
}
"""What one sees of each link: primitive shapes, no mesh is copied."""


def arm_bodies() -> str:
    """The arm as MJCF bodies below base_link, with sites `ee_gripper` and `tool` and the camera `wrist`."""
    inner = _gripper_contents()
    for link in reversed(LINKS):
        inner = _body(link, inner)
    return f'<body name="base_link" gravcomp="1">{_inertial(BASE)}{SHAPES["base_link"]}{inner}</body>'


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


def numbers(values: tuple[float, ...]) -> str:
    """As MJCF writes vectors."""
    return " ".join(f"{value:.10g}" for value in values)


def _body(link: Link, inner: str) -> str:
    limits = f'range="{link.lower} {link.upper}" limited="true"'
    return f"""<body name="{link.name}" pos="{numbers(link.origin)}" gravcomp="1">
      <joint name="{link.joint}" axis="{numbers(link.axis)}" {limits}/>
      {_inertial(link.inertial)}{SHAPES[link.name]}{inner}
    </body>"""


def _inertial(about: Inertial) -> str:
    return (
        f'<inertial mass="{about.mass}" pos="{numbers(about.center)}" diaginertia="{numbers(about.moments)}" '
        f'quat="{numbers(about.frame)}"/>'
    )


def _gripper_contents() -> str:
    """Horn, bar and fingers (closed on the plug), the plug, tool sites and the wrist camera."""
    length, width, height = (s / 2 for s in PLUG_SIZE)
    bar = 0.043 + 0.023
    grip = width + 0.004
    fingers = "".join(
        f'<body name="{side}_finger_link" pos="{bar} {sign * grip} 0" gravcomp="1">'
        + _inertial(FINGER)
        + '<geom class="moving" type="box" material="finger" size="0.017 0.004 0.007" pos="0.017 0 0"/></body>'
        for side, sign in (("left", 1), ("right", -1))
    )
    pins = "".join(
        _box("pin", "0.005 0.0016 0.0004", f"{length - 0.005} {(i - 1.5) * 0.0048} {height}") for i in range(4)
    )
    return f"""
      <body name="gripper_bar_link" pos="0.043 0 0" gravcomp="1">
        {_inertial(BAR)}
        {_box("metal", "0.010 0.045 0.009", "0.012 0 0")}
      </body>
      {fingers}
      <body name="plug" pos="{PLUG_TIP - length} 0 0" gravcomp="1">
        {_inertial(PLUG)}
        <geom name="plug" class="moving" type="box" material="plug" size="{length} {width} {height}"/>
        {pins}
      </body>
      <geom class="visual" type="box" material="body" size="0.012 0.012 0.006" pos="0.030 0 -0.068"/>
      <geom class="visual" type="box" material="metal" size="0.006 0.008 0.028" pos="0.024 0 -0.040"/>
      <camera name="wrist" pos="0.044 0 -0.068" xyaxes="0 -1 0 -0.60 0 1" fovy="70"/>
      <site name="ee_gripper" pos="{EE_GRIPPER} 0 0" size="0.001" group="5"/>
      <site name="tool" pos="{PLUG_TIP} 0 0" size="0.001" group="5"/>"""
