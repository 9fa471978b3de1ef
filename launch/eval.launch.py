"""Run held-out tasks with given weights: robot, reward detector and policy; nothing is learned.

`ros2 launch meld_ros eval.launch.py --show-args` lists the arguments; the nodes are in meld_ros/graph.py.
"""

from launch import LaunchDescription

from meld_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Arguments with their choices, and the nodes of the graph 'eval'."""
    return describe("eval")
