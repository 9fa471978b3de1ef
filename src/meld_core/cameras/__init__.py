"""Cameras: captured, identified, watched over, and turned into the policy's and the detector's views."""
