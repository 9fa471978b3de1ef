"""A person's hand on the arm: what marker, joystick, clicked point and keys mean. It knows nothing of ROS."""
