"""Measurements of `meld bench` that need ROS: the graph over DDS."""
