"""Nodes of ours that run on this machine, as the kernel tells: what discovery cannot show, it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from meld_core.doctor.snapshot import ProcessSeen
from meld_ros.graph import GRAPHS

_NODES = tuple(dict.fromkeys(spec.executable for specs in GRAPHS.values() for spec in specs))
_NAMESPACE = re.compile(r"^__ns:=(/.*)$")


def node_processes(proc: Path = Path("/proc")) -> list[ProcessSeen]:
    """Every node of ours that this user may look at; none where there is no /proc."""
    found = (_process(folder) for folder in proc.glob("[0-9]*"))
    return sorted((process for process in found if process is not None), key=lambda process: process.pid)


def _process(folder: Path) -> ProcessSeen | None:
    try:
        words = (folder / "cmdline").read_text(errors="replace").split("\0")
        environment = dict(_pairs((folder / "environ").read_text(errors="replace")))
    except OSError:  # it has ended, or is somebody else's
        return None
    node = _node_of(words[:4])
    if node is None or "--ros-args" not in words:
        return None
    parameters = words[words.index("--params-file") + 1] if "--params-file" in words else ""
    namespace = next((match[1] for match in map(_NAMESPACE.match, words) if match), "/")
    discovery = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    return ProcessSeen(
        pid=int(folder.name),
        node=node,
        namespace=namespace,
        run=str(Path(parameters).parents[1]) if Path(parameters).parent.name == "parameters" else "",
        domain=int(environment.get("ROS_DOMAIN_ID") or 0),
        rmw=environment.get("RMW_IMPLEMENTATION", ""),
        discovery=discovery or ("LOCALHOST" if environment.get("ROS_LOCALHOST_ONLY") == "1" else ""),
        profile=environment.get("FASTDDS_DEFAULT_PROFILES_FILE", ""),
        peer=environment.get("ROS_STATIC_PEERS", ""),
        mode=_mode_in(Path(parameters)) if parameters else "",
    )


def _mode_in(path: Path) -> str:
    """Parameter `mode` of a file as graph.py writes it."""
    try:
        return str(json.loads(path.read_text())["/**"]["ros__parameters"].get("mode", ""))
    except (OSError, ValueError, KeyError, TypeError):  # gone meanwhile, or written by somebody else
        return ""


def _node_of(words: list[str]) -> str | None:
    """`python -m meld_ros.robot_node` or `.../lib/meld_ros/robot_node` → robot."""
    for word in words:
        name = Path(word).name.removeprefix("meld_ros.")
        if name in _NODES:
            return name.removesuffix("_node")
    return None


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for entry in text.split("\0"):
        name, equals, value = entry.partition("=")
        if equals:
            yield name, value
