"""The bench: table, arm, a box with identical ports, a link LED that only the detector camera sees.

The box is a mocap body whose origin is the centre of its top face, so that a task is set by writing one pose.
Its ports look alike whichever is live. The link LED exists twice, dark and lit, in geom groups that policy views
never draw; which of the two the detector view draws depends on whether the plug is seated in the live port.
"""

from __future__ import annotations

import math

from meld_core.config import Config, ConfigError, RobotConfig, TaskConfig, did_you_mean
from meld_core.sim.arm import PLUG_SIZE
from meld_core.sim.arm_model import DEFAULTS, MATERIALS, actuators, arm_bodies, numbers

POLICY_CAMERAS = ("external", "wrist")
LED_DARK_GROUP = 3
LED_LIT_GROUP = 4
LED_SQUARE = (0.41, 0.46, 0.59, 0.64)
"""Where the detector view shows the LED: left, top, right, bottom as shares of the view's size."""

_WALL = 0.012
"""Thickness of the box around its ports [m]."""
_FLOOR_BELOW_SEAT = 0.010
"""The bottom of a port lies this much below the depth at which the plug is seated [m]."""
_THINNEST_RIB = 0.004
"""Least wall between two ports [m]."""
_PLUG_X, _PLUG_Y = PLUG_SIZE[2], PLUG_SIZE[1]
"""The plug's cross-section along x and y of base_link when it points down [m]."""


def scene_xml(config: Config) -> str:
    """The whole bench as MJCF, of a config that passes `check_bench`."""
    x, y, z = config.task.box_center
    return f"""<mujoco model="insertion">
  <compiler angle="radian"/>
  <option timestep="{config.sim.timestep}" integrator="implicitfast" cone="elliptic" noslip_iterations="0"/>
  <visual>
    <headlight ambient="0.36 0.36 0.36" diffuse="0 0 0" specular="0 0 0"/>
    <map znear="0.02" zfar="20" shadowclip="0.6"/>
  </visual>
  <statistic center="{x} {y} {z}" extent="1"/>{DEFAULTS}
  <asset>{MATERIALS}
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.80 0.86 0.92" rgb2="0.48 0.56 0.66"
      width="64" height="384"/>
    <texture name="table" type="2d" builtin="checker" rgb1="0.72 0.58 0.44" rgb2="0.66 0.52 0.39"
      width="128" height="128"/>
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
    <camera name="bench" mode="fixed" pos="{x + 0.50} {y - 0.62} {z + 0.42}"
      xyaxes="0.62 0.63 0 -0.195 0.192 0.781" fovy="34"/>
    {arm_bodies()}
    {_box_body(config.task)}
  </worldbody>
  <actuator>{actuators()}</actuator>
</mujoco>"""


def check_bench(config: Config) -> None:
    """Raise ConfigError unless ports fit the box, the plug fits the ports, all are reached and the LED is watched."""
    task, robot = config.task, config.robot
    thinnest = task.port_spacing - 2 * _port_half(task)
    if thinnest < _THINNEST_RIB:
        raise ConfigError(
            f"task.clearance {task.clearance} m and task.port_spacing {task.port_spacing} m leave {thinnest:.4f} m of "
            f"wall between ports, {_THINNEST_RIB} m are needed"
        )
    turned = _PLUG_X / 2 * math.cos(task.box_yaw_range) + _PLUG_Y / 2 * math.sin(task.box_yaw_range)
    if turned > _PLUG_X / 2 + task.clearance:
        raise ConfigError(
            f"a plug does not enter ports of task.clearance {task.clearance} m turned by task.box_yaw_range "
            f"{task.box_yaw_range} rad, because its heading is fixed; {turned - _PLUG_X / 2:.4f} m would be enough"
        )
    lowest = task.depth + _FLOOR_BELOW_SEAT + 0.005
    if task.box_center[2] < lowest:
        raise ConfigError(
            f"task.box_center has its top face {task.box_center[2]} m above the table; "
            f"ports of task.depth {task.depth} m need {lowest:.3f} m"
        )
    _check_workspace(task, robot, config.gate.workspace_margin)
    _check_views(config)


def _check_workspace(task: TaskConfig, robot: RobotConfig, margin: float) -> None:
    row = (task.ports - 1) / 2 * task.port_spacing
    needed = (
        2 * (row * math.sin(task.box_yaw_range) + task.box_range[0] + margin),
        2 * (row + task.box_range[1] + margin),
    )
    if any(size < need for size, need in zip(robot.workspace_size, needed, strict=False)):
        raise ConfigError(
            f"robot.workspace_size {list(robot.workspace_size)} m does not reach all {task.ports} ports of all tasks; "
            f"{needed[0]:.3f} m along x and {needed[1]:.3f} m along y would"
        )
    if robot.workspace_below < task.depth + margin:
        raise ConfigError(
            f"robot.workspace_below {robot.workspace_below} m does not let the plug reach task.depth {task.depth} m; "
            f"{task.depth + margin:.4f} m would"
        )


def _check_views(config: Config) -> None:
    """Views must exist, and a region beside the LED would silently never see a success."""
    for name in config.sim.views:
        if name not in POLICY_CAMERAS:
            raise ConfigError(f"unknown view '{name}'{did_you_mean(name, POLICY_CAMERAS)} [setting: sim.views]")
    x, y, width, height = config.reward.region
    left, top, right, bottom = (share * config.sim.detector_size for share in LED_SQUARE)
    covers = x <= left and y <= top and x + width >= right and y + height >= bottom
    if config.reward.kind == "led" and not covers:
        raise ConfigError(
            f"reward.region {list(config.reward.region)} misses the LED, which a simulated detector view of "
            f"{config.sim.detector_size} px shows between ({left:.0f}, {top:.0f}) and ({right:.0f}, {bottom:.0f}) px"
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
    return f'<body name="box" mocap="true" pos="{numbers(task.box_center)}">{"".join(parts)}{_led(half_x)}</body>'


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
    return f'<geom class="standing" type="box" material="{material}" size="{numbers(size)}" pos="{numbers(position)}"/>'


def _seen(material: str, size: tuple[float, ...], position: tuple[float, ...]) -> str:
    return f'<geom class="visual" type="box" material="{material}" size="{numbers(size)}" pos="{numbers(position)}"/>'
