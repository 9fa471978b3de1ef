"""Rivals that the agent is compared with, on the same tasks, bench and scoring. Nothing of ours learns from them."""
