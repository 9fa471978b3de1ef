"""Real processes, real DDS, real kills."""

from ..ros.conftest import domain, ros, run, single_thread, small
from .driver_bench import xs_built, xs_messages

__all__ = ["domain", "ros", "run", "single_thread", "small", "xs_built", "xs_messages"]
