"""Settings of a driver: a real arm's, or Gazebo's."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class DriverConfig(Section):
    """The topics of an arm's driver and what is expected of it (robots `ros2_control` and `widowx`)."""

    joint_states: str = setting("driver/joint_states", "Topic on which the driver tells its joints.")
    trajectory: str = setting(
        "driver/arm_controller/joint_trajectory", "ros2_control: topic of the joint_trajectory_controller."
    )
    image: str = setting("image", "Topic of the policy view; each step carries the stamp of its picture.")
    state_match: float = setting(
        0.02, "A joint state this close to a picture belongs to it.", unit="s", low=0.001, high=0.5
    )
    stale_after: float = setting(0.1, "Joint states older than this are lost: STOPPED.", unit="s", low=0.02, high=2.0)
    connect_timeout: float = setting(10.0, "How long to wait for the driver.", unit="s", low=0.1, high=120.0)
    reset_speed: float = setting(
        0.6, "Mean speed of the fastest joint on the way to the start pose.", unit="rad/s", low=0.05, high=2.0
    )
    park_speed: float = setting(0.6, "The same on the way to the rest pose.", unit="rad/s", low=0.05, high=2.0)
    rest_joints: tuple[float, float, float, float, float, float] = setting(
        (0.0, -1.80, 1.55, 0.0, 0.80, 0.0),
        "Rest pose, in which the arm lies on itself (widowx: the driver's own sleep pose is used).",
        unit="rad",
        low=-3.2,
        high=3.2,
    )
    arrival_error: float = setting(
        0.05, "A joint this close to its goal has arrived (gravity and friction keep it off).", unit="rad", low=0.002
    )
    follow_window: float = setting(
        0.25, "A joint that does not follow its command for this long is dead: STOPPED.", unit="s", low=0.05, high=5.0
    )
    namespace: str = setting("wx250s", "widowx: namespace of xs_sdk, its robot_name.")
    group: str = setting("arm", "widowx: name of the joint group.")
    gripper: str = setting("gripper", "widowx: name of the gripper's joint; empty: it has none.")
    gripper_pwm: float = setting(250.0, "widowx: effort with which the gripper grasps.", low=0.0, high=350.0)
    finger_grasp: float = setting(0.015, "widowx: finger position when closed.", unit="m", low=0.0, high=0.1)
    torque_off: bool = setting(
        False, "widowx: switch the motors off once the arm lies in its rest pose. Never before, never by a fault."
    )
