"""Measurements of `meld bench` that need no ROS; those of the graph are in meld_ros/bench. Each module: one subject."""
