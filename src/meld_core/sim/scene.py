"""The bench: table, arm, a box with identical ports, a link LED that only the detector camera sees.

The box is a mocap body whose origin is the centre of its top face, so that a task is set by writing one pose.
Its ports look alike whichever is live. The link LED exists twice, dark and lit, in geom groups that policy views
never draw; which of the two the detector view draws depends on whether the plug is seated in the live port.
"""

from __future__ import annotations

from meld_core.config import Config, ConfigError, TaskConfig
from meld_core.sim.arm import DEFAULTS, MATERIALS, PLUG_SIZE, actuators, arm_bodies

LED_DARK_GROUP = 3
LED_LIT_GROUP = 4

_WALL = 0.012
"""Thickness of the box around its ports [m]."""
_FLOOR_BELOW_SEAT = 0.010
"""The bottom of a port lies this much below the depth at which the plug is seated [m]."""
_PLUG_X, _PLUG_Y = PLUG_SIZE[2], PLUG_SIZE[1]
"""The plug's cross-section along x and y of base_link when it points down [m]."""


def scene_xml(config: Config) -> str:
    """The whole bench as MJCF.

    Raises:
        ConfigError: where ports of this clearance, spacing and depth do not fit the box.
    """
    check_box(config.task)
    x, y, z = config.task.box_center
    return f"""<mujoco model="insertion">
  <compiler angle="radian"/>
  <option timestep="{config.sim.timestep}" integrator="implicitfast" cone="elliptic" noslip_iterations="0"/>
  <visual>
    <headlight ambient="0.36 0.36 0.36" diffuse="0 0 0" specular="0 0 0"/>
    <map znear="0.02" zfar="20"/>
  </visual>
  <statistic center="{x} {y} {z}" extent="1"/>{DEFAULTS}
  <asset>{MATERIALS}
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.80 0.86 0.92" rgb2="0.48 0.56 0.66" width="64" height="384"/>
    <texture name="table" type="2d" builtin="checker" rgb1="0.72 0.58 0.44" rgb2="0.66 0.52 0.39" width="128" height="128"/>
    <material name="table" texture="table" texrepeat="12 12" texuniform="false" specular="0" reflectance="0"/>
    <material name="box" rgba="0.86 0.86 0.83 1" specular="0"/>
    <material name="side" rgba="0.66 0.68 0.71 1" specular="0"/>
    <material name="hole" rgba="0.05 0.05 0.06 1" specular="0"/>
    <material name="led_dark" rgba="0.10 0.16 0.11 1" specular="0.1"/>
    <material name="led_lit" rgba="0.08 1 0.25 1" emission="1" specular="0"/>
  </asset>
  <worldbody>
    <light pos="{x + 0.3} {y + 0.3} 1.2" dir="-0.25 -0.25 -1" type="directional" diffuse="0.52 0.52 0.52"
      specular="0.1 0.1 0.1" castshadow="true"/>
    <light pos="{x - 0.5} {y - 0.4} 1.0" dir="0.7 0.5 -0.8" type="directional" diffuse="0.20 0.20 0.20"
      specular="0 0 0" castshadow="false"/>
    <geom name="table" class="standing" type="box" material="table" size="0.6 0.6 0.02" pos="0.2 0 -0.02"/>
    <camera name="external" mode="fixed" pos="{x + 0.34} {y} {z + 0.30}" xyaxes="0 1 0 -0.64 0 0.80" fovy="29"/>
    {arm_bodies()}
    {_box_body(config.task)}
  </worldbody>
  <actuator>{actuators()}</actuator>
</mujoco>"""


def check_box(task: TaskConfig) -> None:
    """Raise ConfigError unless the ports fit into the box and the box stands on the table."""
    widest = task.port_spacing - 0.004 - _PLUG_Y
    if 2 * task.clearance > widest:
        raise ConfigError(
            f"task.clearance {task.clearance} m leaves no wall between ports {task.port_spacing} m apart; "
            f"at most {widest / 2:.4f} m fits, or widen task.port_spacing"
        )
    lowest = task.depth + _FLOOR_BELOW_SEAT + 0.005
    if task.box_center[2] < lowest:
        raise ConfigError(
            f"task.box_center has its top face {task.box_center[2]} m above the table; "
            f"ports of task.depth {task.depth} m need {lowest:.3f} m"
        )


def box_half_size(task: TaskConfig) -> tuple[float, float]:
    """Half the box's extent along its x and y [m]."""
    return _PLUG_X / 2 + task.clearance + _WALL, (task.ports - 1) / 2 * task.port_spacing + _port_half(task) + _WALL


def _port_half(task: TaskConfig) -> float:
    return _PLUG_Y / 2 + task.clearance


def _box_body(task: TaskConfig) -> str:
    """Walls around the ports, their dark bottoms, the LED and the detector camera, in the box's frame."""
    half_x, half_y = box_half_size(task)
    depth = task.depth + _FLOOR_BELOW_SEAT
    height = task.box_center[2]
    solid = (height - depth) / 2
    parts = [_standing("side", (half_x, half_y, solid), (0, 0, -depth - solid)), *_walls(task, depth)]
    for port in range(task.ports):
        center = (port - (task.ports - 1) / 2) * task.port_spacing
        size = (_PLUG_X / 2 + task.clearance, _port_half(task), 0.0005)
        parts.append(_seen("hole", size, (0, center, -0.0025)))
    return f'<body name="box" mocap="true" pos="{_text(task.box_center)}">{"".join(parts)}{_led(half_x)}</body>'


def _walls(task: TaskConfig, depth: float) -> list[str]:
    """Front and back wall, and the ribs between and beside the ports, from the top face down to `depth`."""
    half_x, half_y = box_half_size(task)
    inner = half_x - _WALL
    walls = [
        _standing("box", (_WALL / 2, half_y, depth / 2), (sign * (half_x - _WALL / 2), 0, -depth / 2))
        for sign in (1, -1)
    ]
    centers = [(i - (task.ports - 1) / 2) * task.port_spacing for i in range(task.ports)]
    edges = [-half_y, *(c + s * _port_half(task) for c in centers for s in (-1, 1)), half_y]
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        walls.append(_standing("box", (inner, (high - low) / 2, depth / 2), (0, (low + high) / 2, -depth / 2)))
    return walls


def _led(half_x: float) -> str:
    """The link LED on the front face, dark and lit, and the camera that watches it."""
    shape = f'type="ellipsoid" size="0.004 0.007 0.007" pos="{half_x} 0 -0.022"'
    return f"""
      <geom name="led_dark" class="visual" {shape} material="led_dark" group="{LED_DARK_GROUP}"/>
      <geom name="led_lit" class="visual" {shape} material="led_lit" group="{LED_LIT_GROUP}"/>
      <camera name="detector" pos="{half_x + 0.13} 0 0.025" xyaxes="0 1 0 -0.32 0 1" fovy="46"/>"""


def _standing(material: str, size: tuple[float, ...], position: tuple[float, ...]) -> str:
    return f'<geom class="standing" type="box" material="{material}" size="{_text(size)}" pos="{_text(position)}"/>'


def _seen(material: str, size: tuple[float, ...], position: tuple[float, ...]) -> str:
    return f'<geom class="visual" type="box" material="{material}" size="{_text(size)}" pos="{_text(position)}"/>'


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{n:.10g}" for n in numbers)
