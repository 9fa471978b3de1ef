"""Who is heard: the loopback only, unless a person names the other machine; and which half of a graph runs where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rclpy.node import Node

from meld_core.config import Config, ConfigError
from meld_core.link_state import LinkState
from meld_core.storage.run_folder import RunFolder
from meld_ros import conversions as msgs
from meld_ros.graph import Options, render
from meld_ros.network import check_machine, network_environment
from meld_ros.share import share_dir

from .conftest import Ros
from .stand_ins import Listener

LOOPBACK, DISCOVERY = "0100007F", "0100FFEF"
"""127.0.0.1, and 239.255.0.1, which is joined on the loopback: see config/network/localhost.xml."""


def test_nobody_else_is_heard_by_default() -> None:
    profile = str(share_dir() / "config" / "network" / "localhost.xml")
    assert network_environment("", {}) == {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "FASTDDS_DEFAULT_PROFILES_FILE": profile,
    }  # fmt: skip


@pytest.mark.parametrize("given", [{"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, {"ROS_DISTRO": "jazzy"}])
def test_where_the_profile_would_not_be_read_the_range_keeps_others_out(given: dict[str, str]) -> None:
    assert network_environment("", given)["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_a_peer_is_heard_and_gets_messages_of_the_size_of_a_frame() -> None:
    profile = str(share_dir() / "config" / "network" / "frames.xml")
    assert network_environment("10.0.0.2", {}) == {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_STATIC_PEERS": "10.0.0.2",
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
    }


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"},
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
        ),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"}, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}),
        ({"ROS_STATIC_PEERS": "10.0.0.9"}, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}),
        ({"ROS_DISTRO": "humble"}, {"ROS_LOCALHOST_ONLY": "1"}),
    ],
)
def test_what_a_person_has_set_is_left(given: dict[str, str], wanted: dict[str, str]) -> None:
    assert network_environment("", given) == wanted


def test_half_a_graph_needs_a_domain_that_both_halves_know(small: Config, tmp_path: Path) -> None:
    check_machine("all", {})
    check_machine("arm", {"ROS_DOMAIN_ID": "7"})
    with pytest.raises(ConfigError, match="set ROS_DOMAIN_ID to the same number on both machines"):
        check_machine("trainer", {})
    halves = {
        half: render("train", small, Options(folder=tmp_path, machine=half)) for half in ("all", "arm", "trainer")
    }
    names = {half: [process.name for process in processes] for half, processes in halves.items()}
    assert names == {
        "all": ["robot", "reward", "trainer", "policy"], "arm": ["robot", "reward", "policy"], "trainer": ["trainer"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["localhost", "frames"])
def test_fast_dds_understands_every_word_of_the_profiles(name: str) -> None:
    """What it does not know it says on the terminal, and goes on without the whole file."""
    path = share_dir() / "config" / "network" / f"{name}.xml"
    made = subprocess.run(
        [sys.executable, "-c", "import rclpy; rclpy.init(); rclpy.create_node('reader')"],
        env=os.environ | {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp", "FASTDDS_DEFAULT_PROFILES_FILE": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout + made.stderr == ""


def listening(process: subprocess.Popen[str]) -> Iterator[tuple[str, int]]:
    """Address (hex) and port of every UDP socket of a process."""
    links = [os.readlink(path) for path in Path(f"/proc/{process.pid}/fd").iterdir() if path.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in inodes:
            address, port = words[1].split(":")
            yield address, int(port, 16)


def test_the_sockets_that_a_node_listens_on_are_bound_to_the_loopback(
    ros: Ros, small: Config, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in network_environment("", {}).items():
        monkeypatch.setenv(name, value)
    listener = Listener(ros)
    process = ros.start_graph("train", small, run, "reward")["reward"]
    listener.hears("reward", "running")  # although this test's own node knows nothing of the profile
    found = list(listening(process))
    assert len(found) >= 2
    assert {address for address, _ in found} <= {LOOPBACK, DISCOVERY}
    assert not [
        line
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        if "fastdds" in line and "/dev/shm/" in line
    ]


def test_the_state_of_a_link_in_words() -> None:
    now = [100.0]
    link = LinkState("trainer", clock=lambda: now[0])
    assert (str(link), link.complaint, link.up) == ("not heard yet, for 0 s", "", False)
    assert link.heard(1)
    now[0] = 107.0
    assert (str(link), link.complaint) == ("up for 7 s", "")
    assert not link.heard(2)  # a second one changes nothing
    assert not link.heard(0)
    now[0] = 110.0
    assert (str(link), link.complaint, link.losses) == ("lost for 3 s", "the trainer is not heard any more", 1)
    assert link.heard(1)
    assert link.complaint == ""


class Speaker(Node):
    """Publishes nothing, but is there."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("speaker", **kwargs)
        self.publisher = msgs.publisher(self, msgs.TRIALS_ACK)

    def close(self) -> None:
        """Nothing to let go of."""


def test_a_link_is_heard_and_lost_over_dds(ros: Ros) -> None:
    link = LinkState("trainer")
    msgs.subscription(ros.probe(), msgs.TRIALS_ACK, lambda msg: None, events=msgs.on_alive(link.heard))
    speaker = ros.node_apart(Speaker)
    ros.until(lambda: link.up, "the trainer")
    speaker.destroy_publisher(speaker.publisher)
    ros.until(lambda: link.lost, "its loss")
