"""Bring up the arm behind its MotionGate, and the reward detector, without a policy.

`ros2 launch meld_ros robot.launch.py --show-args` lists the arguments; the nodes are in meld_ros/graph.py.
"""

from launch import LaunchDescription

from meld_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Arguments with their choices, and the nodes of the graph 'robot'."""
    return describe("robot")
