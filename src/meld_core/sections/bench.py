"""Settings of the bench: tasks, simulation, robot and the gate in front of it."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig(Section):
    """The family of tasks: a box with identical ports of which one is live."""

    name: str = setting("insertion", "Entry of meld_core.task_families.TASKS.")
    taught: str = setting("", "ethernet: file of taught ports, written by `meld task teach`.")
    episodes: int = setting(2, "Episodes per trial, K.", low=1, high=16)
    switch_probability: float = setting(
        0.0, "Before each later episode the live port moves to another one this likely.", low=0.0, high=1.0
    )
    horizon: int = setting(40, "Most steps of an episode, T.", unit="steps", low=1, high=1000)
    episode_form: str = setting("end_on_success", "When an episode ends.", choices=("end_on_success", "fixed_length"))
    ports: int = setting(3, "Ports on the box.", low=1, high=6)
    port_spacing: float = setting(0.044, "Distance between port centres.", unit="m", low=0.03, high=0.1)
    clearance: float = setting(0.005, "Gap between plug and port on each side.", unit="m", low=0.0005, high=0.01)
    depth: float = setting(0.010, "Insertion depth at which the plug is seated.", unit="m", low=0.004, high=0.03)
    box_center: tuple[float, float, float] = setting(
        (0.30, 0.0, 0.06), "Centre of the box's top face in base_link, mean over tasks.", unit="m"
    )
    box_range: tuple[float, float] = setting(
        (0.020, 0.025), "Box position varies by this much along x and y, either way.", unit="m", low=0.0, high=0.1
    )
    box_yaw_range: float = setting(0.15, "Box heading varies by this much, either way.", unit="rad", low=0.0, high=0.8)
    box_beyond: tuple[float, float] = setting(
        (0.0, 0.0), "Only box positions off by more than this along x or y (evaluation only).", unit="m", low=0.0
    )
    box_yaw_beyond: float = setting(0.0, "Only box headings beyond this (evaluation only).", unit="rad", low=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimConfig(Section):
    """The MuJoCo simulation."""

    timestep: float = setting(0.002, "Physics step.", unit="s", low=0.0005, high=0.01)
    image_size: int = setting(64, "Height and width of one policy view.", unit="px", low=16, high=512)
    views: tuple[str, ...] = setting(("external", "wrist"), "Policy cameras, stacked from top to bottom.")
    detector_size: int = setting(64, "Height and width of the detector view.", unit="px", low=16, high=512)
    renderer: str = setting(
        "auto", "OpenGL back end; auto tries egl, osmesa, warp.", choices=("auto", "egl", "osmesa", "warp")
    )
    start_noise: float = setting(0.010, "Start position varies by this much, either way.", unit="m", low=0.0, high=0.03)
    camera_jitter: float = setting(0.0, "Camera position varies per task by this much.", unit="m", low=0.0, high=0.05)
    light_jitter: float = setting(0.0, "Brightness varies per task by this fraction.", low=0.0, high=0.9)
    image_noise: float = setting(0.0, "Standard deviation of pixel noise, of 255.", low=0.0, high=64.0)
    action_delay: int = setting(0, "The arm moves this many steps after its command.", unit="steps", low=0, high=8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobotConfig(Section):
    """The arm and its control."""

    kind: str = setting("mujoco", "Entry of meld_ros.robots.ROBOTS.")
    name: str = setting("wx250s", "Name of the arm, part of every trial id.")
    mode: str = setting("lockstep", "Who keeps time (docs/ARCHITECTURE.md).", choices=("lockstep", "realtime"))
    control_period: float = setting(0.25, "Length of one step.", unit="s", low=0.01, high=2.0)
    step_size: float = setting(0.020, "Tool displacement of an action of 1.", unit="m", low=0.001, high=0.05)
    workspace_size: tuple[float, float, float] = setting(
        (0.12, 0.20, 0.05), "Box in which the tool may move, around the task's centre.", unit="m", low=0.01, high=0.6
    )
    reset: str = setting(
        "auto", "Who brings the arm to its start pose: the robot itself, or a person.", choices=("auto", "teleop")
    )
    setup: str = setting(
        "robot", "Who changes the bench between tasks; a person is waited for.", choices=("robot", "person")
    )
    workspace_below: float = setting(
        0.015, "How far the workspace reaches below the port mouths.", unit="m", low=0.0, high=0.05
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateConfig(Section):
    """MotionGate: what a command must satisfy before the arm moves."""

    expiry_periods: float = setting(1.5, "A command expires after this many control periods.", low=1.0, high=5.0)
    max_age: float = setting(0.5, "Oldest accepted stamp in realtime.", unit="s", low=0.02, high=5.0)
    max_future: float = setting(0.05, "Furthest accepted stamp in the future.", unit="s", low=0.0, high=1.0)
    policy_lease: float = setting(0.1, "Liveliness lease of the commanding policy.", unit="s", low=0.02, high=5.0)
    teleop_patience: float = setting(
        0.15, "A person's client that moves the arm and is silent for this long is lost: HOLD.", unit="s", low=0.02
    )
    workspace_margin: float = setting(0.001, "Stop this far inside the workspace.", unit="m", low=0.0, high=0.02)
    max_joint_speed: float = setting(
        3.14159, "Largest joint speed, commanded or believed (the servos' own).", unit="rad/s", low=0.1, high=3.14159
    )
    max_joint_jump: float = setting(0.8, "Implausible change of a joint between two states.", unit="rad", low=0.05)
    max_tracking_error: float = setting(0.06, "Tool may lag its target by this much.", unit="m", low=0.005)
    tracking_patience: float = setting(0.5, "Lag allowed for this long before STOPPED.", unit="s", low=0.05)
    button_timeout: float = setting(
        0.0, "Topic stop_button silent for this long: STOPPED; 0: no button needed.", unit="s", low=0.0, high=5.0
    )
    step_timeout: float = setting(2.0, "Lockstep: re-publish a step that got no action after.", unit="s", low=0.05)
    step_retries: int = setting(5, "Lockstep: re-publish at most this often, then HOLD.", low=0, high=100)
