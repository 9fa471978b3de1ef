"""config/security/policy.xml allows exactly what the nodes really do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from rclpy.node import Node

from meld_core.config import Config
from meld_core.storage.run_folder import RunFolder
from meld_ros.graph import GRAPHS, Options, render
from meld_ros.share import share_dir

from .conftest import Ros

Rights = dict[str, set[str]]
"""publish, subscribe (topics), reply, request (services) → full names."""
ASKED = {
    "publish": Node.get_publisher_names_and_types_by_node,
    "subscribe": Node.get_subscriber_names_and_types_by_node,
    "reply": Node.get_service_names_and_types_by_node,
    "request": Node.get_client_names_and_types_by_node,
}
NOT_IN_SMOKE = {"reward": {"subscribe": {"/tool_pose"}}}
"""What only other settings use: a detector that looks at the pose."""


def full(name: str, namespace: str, node: str) -> str:
    """A name of the policy as it is on the graph."""
    if name.startswith("/"):
        return name
    return f"{namespace.rstrip('/')}/{node}/{name[1:]}" if name.startswith("~") else f"{namespace.rstrip('/')}/{name}"


def policy() -> ElementTree.Element:
    return ElementTree.parse(share_dir() / "config" / "security" / "policy.xml").getroot()


def allowed() -> dict[str, Rights]:
    """Per node what the policy allows."""
    found: dict[str, Rights] = {}
    for profile in policy().iter("profile"):
        rights = found.setdefault(profile.attrib["node"], {kind: set() for kind in ASKED})
        for group in profile:
            (kind,) = group.attrib
            assert group.attrib[kind] == "ALLOW"
            for entry in group:
                assert entry.tag == group.tag.removesuffix("s")
                assert entry.text
                rights[kind].add(full(entry.text, profile.attrib["ns"], profile.attrib["node"]))
    return found


def note(seen: dict[str, Rights], asker: Node, names: list[str]) -> None:
    """Add what the nodes have now; a node that is not there (any more) adds nothing."""
    present = {name for name, _ in asker.get_node_names_and_namespaces()}
    for name in present & set(names):
        rights = seen.setdefault(name, {kind: set() for kind in ASKED})
        for kind, ask in ASKED.items():
            rights[kind] |= {topic for topic, _ in ask(asker, name, "/")}


def without(rights: Rights, names: Rights) -> Rights:
    return {kind: rights[kind] - names.get(kind, set()) for kind in rights}


def expect(ros: Ros, wanted: dict[str, Rights]) -> None:
    """Wait until the nodes have done all of this; whatever they did besides would show."""
    seen: dict[str, Rights] = {}
    asker = ros.probe()

    def done() -> bool:
        note(seen, asker, list(wanted))
        return seen == wanted

    with contextlib.suppress(AssertionError):
        ros.until(done, "everything that is allowed")
    assert seen == wanted


def test_the_nodes_of_a_graph_do_what_is_allowed_and_nothing_is_allowed_besides(
    ros: Ros, small: Config, run: RunFolder
) -> None:
    ros.start_graph("train", small, run, "robot", "reward", "trainer", "teleop", "view", "policy")
    rules = allowed()
    del rules["camera"]
    expect(ros, {name: without(rights, NOT_IN_SMOKE.get(name, {})) for name, rights in rules.items()})


def test_a_camera_does_what_is_allowed(ros: Ros, tmp_path: Path) -> None:
    film = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (32, 16))
    film.write(np.zeros((16, 32, 3), np.uint8))
    film.release()
    settings: dict[str, Any] = {"camera.device": str(tmp_path / "film.avi"), "camera.loop": True}
    ros.start("meld_ros.camera_node", settings)
    expect(ros, {"camera": allowed()["camera"]})


def test_every_process_of_a_graph_has_an_enclave(small: Config, tmp_path: Path) -> None:
    """And is started in it; without keys the name of an enclave means nothing."""
    enclaves = {enclave.attrib["path"] for enclave in policy().iter("enclave")}
    assert enclaves == {f"/meld/{spec.name}" for graph in GRAPHS.values() for spec in graph}
    for process in render("train", small, Options(folder=tmp_path)):
        at = process.ros_arguments.index("--enclave")
        assert process.ros_arguments[at + 1] == f"/meld/{process.name}"
        assert list(process.command)[-len(process.ros_arguments) :] == list(process.ros_arguments)


def test_nobody_but_the_policy_and_a_person_commands_the_arm() -> None:
    """Least privilege, by hand: who may move or release it, who may teach it, who may hear the truth."""
    rules = allowed()

    def may(kind: str, name: str) -> set[str]:
        return {node for node, rights in rules.items() if name in rights[kind]}

    assert may("publish", "/action") == {"policy"}
    assert may("publish", "/teleop/action") == {"teleop"}  # only what a person's hand does now
    assert may("request", "/clear_stop") == {"teleop"}
    assert may("publish", "/weights") == {"trainer"}
    assert may("publish", "/gate_state") == {"robot"}
    assert may("subscribe", "/truth") == {"policy"}  # which only records it
    assert may("publish", "/reward") == {"reward"}
