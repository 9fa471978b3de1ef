"""Who may be heard: this machine only, or the one other machine that a person named."""

from __future__ import annotations

import os
from collections.abc import Mapping

from meld_core.config import ConfigError
from meld_ros.share import share_dir

_RANGE, _PROFILE = "ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTDDS_DEFAULT_PROFILES_FILE"
MACHINES = ("all", "arm", "trainer")
"""Which nodes of a graph run here: all, those at the arm, or the trainer alone."""


def network_environment(peer: str, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment of a node; what a person has set themselves is left as it is.

    By default nodes hear this machine only: with Fast DDS every socket is bound to the loopback, and there is no shared
    memory (config/network/localhost.xml says why). The range is SUBNET then, since with LOCALHOST rmw_fastrtps adds
    shared memory and sockets of its own; where the profile would not be read, it is LOCALHOST. With a peer they also
    look there, and no message on the wire is larger than an Ethernet frame (config/network/frames.xml says why).

    Args:
        peer: Address of the other machine, "" for none.
        given: This process's own environment.
    """
    if given.get("ROS_DISTRO") == "humble":  # knows no peers: there one hears this machine only or the whole network
        return {"ROS_LOCALHOST_ONLY": "0" if peer else given.get("ROS_LOCALHOST_ONLY", "1")}
    wanted = {_RANGE: given.get(_RANGE, "LOCALHOST")}
    if peer:
        wanted["ROS_STATIC_PEERS"] = peer
    alone = wanted[_RANGE] == "LOCALHOST" and not peer and not given.get("ROS_STATIC_PEERS")
    if _PROFILE not in given and (peer or alone):
        wanted[_PROFILE] = str(share_dir() / "config" / "network" / ("frames.xml" if peer else "localhost.xml"))
        if alone and _RANGE not in given and _reads_profiles(given):
            wanted[_RANGE] = "SUBNET"
    return wanted


def _reads_profiles(given: Mapping[str, str]) -> bool:
    """Whether DDS is a Fast DDS that knows the variable: 2.14 of Jazzy has another name for it."""
    fast = given.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps")
    return fast and given.get("ROS_DISTRO", "") not in ("iron", "jazzy")


def join_graph(peer: str = "") -> None:
    """Make this process hear a graph as its own nodes do (see `network_environment`); before ROS is started in it."""
    os.environ.update(network_environment(peer))


def check_machine(machine: str, given: Mapping[str, str] = os.environ) -> None:
    """Raise ConfigError where half a graph is to be started in a domain that the other half cannot know."""
    if machine != "all" and not given.get("ROS_DOMAIN_ID"):
        raise ConfigError(
            f"machine:={machine} starts one half of the graph: set ROS_DOMAIN_ID to the same number on both machines"
        )
