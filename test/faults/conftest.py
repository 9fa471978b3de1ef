"""Real processes, real DDS, real kills."""

from ..ros.conftest import domain, ros, run, single_thread, small

__all__ = ["domain", "ros", "run", "single_thread", "small"]
