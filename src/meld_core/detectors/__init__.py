"""Reward detectors: the kinds there are, and the tools that make, train and judge one."""
