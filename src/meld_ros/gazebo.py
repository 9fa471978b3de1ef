"""The launch description of Gazebo with the arm behind ros2_control. Untested against a live Gazebo.

Nothing of meld_ros itself is started: `ros2 launch meld_ros train.launch.py robot:=ros2_control config:=gazebo
use_sim_time:=true` comes after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meld_ros.share import share_dir

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription

CONTROLLERS = ("joint_state_broadcaster", "arm_controller")
DRIVER = "driver"
"""Namespace of the controllers: their joint_states must not be taken for robot_node's."""


def describe_gazebo() -> LaunchDescription:
    """Arguments, and what is started."""
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    headless = DeclareLaunchArgument(
        "headless", default_value="false", description="Without Gazebo's window.", choices=["false", "true"]
    )
    return LaunchDescription([headless, OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list[Any]:
    import xacro
    from launch.actions import ExecuteProcess
    from launch.substitutions import LaunchConfiguration
    from launch_ros.actions import Node

    share = share_dir()
    files = share / "config" / "gazebo"
    arm = xacro.process_file(
        str(share / "urdf" / "gazebo.urdf.xacro"), mappings={"controllers": str(files / "controllers.yaml")}
    ).toxml()
    window = ["-s"] if LaunchConfiguration("headless").perform(context) == "true" else []
    clock = {"use_sim_time": True}
    return [
        ExecuteProcess(cmd=["gz", "sim", "-r", *window, str(files / "insertion.sdf")], output="screen"),
        Node(
            package="robot_state_publisher",
            executable="robot_state_publisher",
            name="robot_state_publisher",
            namespace=DRIVER,
            parameters=[{"robot_description": arm, **clock}],
        ),
        Node(
            package="ros_gz_sim",
            executable="create",
            name="create",
            arguments=["-name", "wx250s", "-topic", f"/{DRIVER}/robot_description"],
        ),
        Node(
            package="ros_gz_bridge",
            executable="parameter_bridge",
            name="bridge",
            parameters=[{"config_file": str(files / "bridge.yaml"), **clock}],
        ),
        *[
            Node(
                package="controller_manager",
                executable="spawner",
                name=f"spawner_{name}",
                arguments=[name, "-c", f"/{DRIVER}/controller_manager"],
            )
            for name in CONTROLLERS
        ],
    ]
