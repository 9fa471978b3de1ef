"""`meld doctor`: from a snapshot of machine and graph to findings, each with what to do. It knows nothing of ROS."""
