"""Gazebo with the bench, and the arm behind ros2_control. Untested against a live Gazebo.

`ros2 launch meld_ros gazebo.launch.py --show-args` lists the arguments; what is started is in meld_ros/gazebo.py.
"""

from launch import LaunchDescription

from meld_ros.gazebo import describe_gazebo


def generate_launch_description() -> LaunchDescription:
    """Gazebo, the arm, its controllers and the bridge."""
    return describe_gazebo()
