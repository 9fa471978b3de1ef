"""Meta-train: robot, reward detector, trainer and policy. It ends by itself after the last trial.

`ros2 launch meld_ros train.launch.py --show-args` lists the arguments; the nodes are in meld_ros/graph.py.
"""

from launch import LaunchDescription

from meld_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    """Arguments with their choices, and the nodes of the graph 'train'."""
    return describe("train")
