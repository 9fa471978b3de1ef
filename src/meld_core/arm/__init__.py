"""A real arm behind a driver: joint paths out, joint states in, and which of them to believe."""
