"""The doctor's thinking on snapshots made by hand; test/faults/test_doctor.py has the real processes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from meld_core.config import Config, load_config
from meld_core.doctor.examination import enough, examine
from meld_core.doctor.graph_checks import mismatch
from meld_core.doctor.machine import look_at_machine
from meld_core.doctor.snapshot import (
    Endpoint,
    Heard,
    Joints,
    MachineSeen,
    Picture,
    ProcessSeen,
    Snapshot,
    StatusSeen,
    TopicSeen,
)
from meld_core.sim.arm import JOINT_NAMES

REST = (0.0, -0.45, 0.45, 0.0, 1.57, 0.0)
NODES = ("robot", "reward", "trainer", "policy")
CONFIG = load_config([], ["robot.kind=ros2_control", "robot.mode=realtime"])


def pictures(
    count: int = 40, size: tuple[int, int] = (64, 128), brightness: float = 120.0, behind: float = 0.01
) -> Any:
    """At 20 Hz, every one different."""
    return tuple(
        Heard(0.05 * i, i * 50_000_000, behind, Picture(*size, f"{i}", brightness)) for i in range(1, count + 1)
    )


def joints(count: int = 100, names: tuple[str, ...] = JOINT_NAMES, positions: tuple[float, ...] = REST) -> Any:
    """At 100 Hz, at rest."""
    return tuple(Heard(0.01 * i, i * 10_000_000, 0.001, Joints(names, positions)) for i in range(1, count + 1))


def healthy(**different: Any) -> Snapshot:
    """A graph on a driver as it should be."""
    reward = tuple(Heard(0.05 * i, i, 0.0, {"valid": 1.0, "reward": 0.0}) for i in range(1, 20))
    topics = {
        "image": TopicSeen(heard=pictures()),
        "detector_image": TopicSeen(heard=pictures(size=(64, 64))),
        "driver.joint_states": TopicSeen(heard=joints()),
        "reward": TopicSeen(heard=reward),
    }
    fields: dict[str, Any] = {
        "config": CONFIG,
        "topics": topics | different.pop("topics", {}),
        "statuses": {node: StatusSeen("ok", "running", {}) for node in NODES},
        "expected": {node: {"gate.max_age": 0.5, "use_sim_time": False} for node in NODES},
        "parameters": {node: {"gate.max_age": 0.5, "use_sim_time": False} for node in NODES},
        "gate": {"state": "POLICY"},
        "watched": 5.0,
    }
    return Snapshot(**(fields | different))


def names(seen: Snapshot) -> list[str]:
    return [finding.name for finding in examine(seen)]


def with_setting(*overrides: str) -> Config:
    return load_config([], ["robot.kind=ros2_control", "robot.mode=realtime", *overrides])


def test_a_healthy_graph_has_no_finding_and_is_known_early() -> None:
    assert examine(healthy()) == []
    assert enough(healthy())
    assert not enough(healthy(statuses={}, watched=1.0))  # discovery may be slow
    assert not enough(healthy(statuses={}, nodes=("robot",)))
    assert not enough(healthy(statuses={}, processes=(ProcessSeen(1, "robot", "/", "x", 0, "", ""),)))
    assert not enough(healthy(parameters={}))
    robots = tuple(ProcessSeen(pid, "robot", "/", "x", 0, "", "") for pid in (1, 2))
    assert enough(healthy(processes=robots[:1]))
    assert not enough(healthy(processes=robots))  # one of two gates was heard
    assert enough(healthy(processes=(robots[0], dataclasses.replace(robots[1], namespace="/other"))))
    assert not enough(healthy(topics={"image": TopicSeen(heard=pictures(10))}))  # 0.45 s tell of no frozen camera


def status(level: str, message: str = "", **values: str) -> StatusSeen:
    return StatusSeen(level, message, values)


def with_status(node: str, new: StatusSeen) -> Snapshot:
    return healthy(statuses=healthy().statuses | {node: new})


def with_topic(name: str, heard: Any) -> Snapshot:
    return healthy(topics={name: TopicSeen(heard=heard)})


def jumping() -> Any:
    still = joints(20)
    return (*still, Heard(0.21, 210_000_000, 0.001, Joints(JOINT_NAMES, (1.5, *REST[1:]))))


def equal_pictures(count: int) -> Any:
    return tuple(dataclasses.replace(h, value=dataclasses.replace(h.value, digest="x")) for h in pictures(count))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (healthy(config=None, config_problem="unknown setting 'x'", config_where="my.yaml"), "config.unreadable"),
        (healthy(machine=MachineSeen(free=255.0)), "disk.room"),
        (healthy(machine=MachineSeen(rendering="no EGL")), "rendering.none"),
        (healthy(machine=MachineSeen(gpu="a card, unused")), "gpu.idle"),
        (healthy(machine=MachineSeen(missing_packages={"cv2": "pip install"})), "package.missing"),
        (healthy(machine=MachineSeen(missing_files={"camera.calibration": "c.yaml"})), "camera.calibration"),
        (healthy(machine=MachineSeen(missing_files={"task.taught": "p.yaml"})), "task.ports"),
        (healthy(mode="eval"), "weights.missing"),
        (healthy(machine=MachineSeen(ros="cannot load rmw")), "ros.rmw"),
        (healthy(processes=(ProcessSeen(1, "robot", "/", "x", 5, "", ""),)), "ros.domain"),
        (healthy(statuses={k: v for k, v in healthy().statuses.items() if k != "reward"}), "reward.silent"),
        (with_status("robot", StatusSeen("ok", "", {}, sources=2)), "gate.two"),
        (with_status("policy", StatusSeen("ok", "", {}, sources=2)), "policy.two"),
        (with_status("trainer", status("error", "the disk is nearly full")), "trainer.reports"),
        (with_status("policy", status("ok", **{"policy age [trials]": "41"})), "weights.old"),
        (
            with_status("camera", status("error", "0 is frozen: 9 equal pictures in a row (frozen_time)")),
            "camera.frozen",
        ),
        (with_status("camera", status("error", "0 has the serial number 'a', ... : swapped?")), "camera.identity"),
        (with_status("camera", status("error", "0 gives pictures of 64x24, expected 64x48")), "camera.size"),
        (with_status("camera", status("error", "0 gives no pictures any more; plugged in?")), "camera.silent"),
        (
            with_status("camera", status("ok", **{"camera exposure": "automatic: the device cannot lock it"})),
            "camera.exposure",
        ),
        (healthy(gate={"state": "STOPPED", "reason": "stop was called"}), "gate.stopped"),
        (healthy(parameters={"robot": {"gate.max_age": 0.6}}), "parameters.differ"),
        (healthy(parameters={"robot": {"use_sim_time": True}, "policy": {"use_sim_time": False}}), "clock.sim_time"),
        (healthy(parameters={"robot": {"use_sim_time": True}}), "clock.sim_time"),
        (with_topic("image", ()), "camera.silent"),
        (with_topic("image", equal_pictures(40)), "camera.frozen"),
        (with_topic("image", pictures(size=(32, 64))), "camera.size"),
        (with_topic("image", pictures(behind=2.0)), "clock.offset"),
        (with_topic("image", pictures(behind=-0.2)), "clock.offset"),
        (with_topic("detector_image", pictures(size=(64, 64), brightness=3.0)), "camera.light"),
        (with_topic("detector_image", pictures(size=(64, 64), brightness=254.0)), "camera.light"),
        (with_topic("driver.joint_states", ()), "joints.silent"),
        (with_topic("driver.joint_states", joints(names=("a", "b", "c", "d", "e", "f"))), "joints.names"),
        (with_topic("driver.joint_states", joints()[::5]), "joints.slow"),  # 20 Hz; 25 find a picture within 20 ms
        (with_topic("driver.joint_states", joints(positions=(-3.15, *REST[1:]))), ""),  # within 0.1 rad of its limit
        (with_topic("driver.joint_states", joints(positions=(-3.3, *REST[1:]))), "joints.implausible"),
        (with_topic("driver.joint_states", joints(positions=(float("nan"), *REST[1:]))), "joints.implausible"),
        (with_topic("driver.joint_states", jumping()), "joints.implausible"),  # 1.5 rad within 10 ms
        (with_topic("driver.joint_states", tuple(dataclasses.replace(h, stamp=7) for h in joints())), "joints.stale"),
        (with_topic("reward", ()), "reward.silent"),
        (
            with_topic("reward", tuple(Heard(0.1 * i, i, 0.0, {"valid": 0.0}) for i in range(5))),
            "reward.invalid",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_thing_wrong_is_one_finding(seen: Snapshot, expected: str) -> None:
    assert names(seen) == ([expected] if expected else [])
    assert all(finding.found and finding.remedy and finding.where for finding in examine(seen))


def test_an_arm_on_its_way_to_the_start_pose_may_be_silent() -> None:
    others = {node: told for node, told in healthy().statuses.items() if node != "robot"}
    assert names(healthy(statuses=others, gate={"state": "RESET"})) == []
    assert names(healthy(statuses=others)) == ["robot.silent"]


def test_every_node_of_a_graph_may_be_found_silent() -> None:
    from meld_ros.graph import GRAPHS

    for node in {spec.name for specs in GRAPHS.values() for spec in specs}:
        expected = {**healthy().expected, node: {}}
        others = {name: told for name, told in healthy().statuses.items() if name != node}
        assert names(healthy(expected=expected, statuses=others)) == [f"{node}.silent"]


def test_a_quiet_picture_is_not_frozen_where_nobody_watches_for_that() -> None:
    quiet = {"image": TopicSeen(heard=equal_pictures(40))}
    assert names(healthy(config=with_setting("camera.frozen_time=0.0"), topics=quiet)) == []
    assert names(healthy(config=with_setting("camera.frozen_time=3.0"), topics=quiet)) == []  # 2 s of equal pictures


def test_without_a_graph_only_machine_and_driver_are_judged() -> None:
    alone = {"statuses": {}, "parameters": {}, "gate": {}, "nodes": ()}
    assert names(healthy(**alone)) == []
    assert names(healthy(**alone, config=Config(), topics=dict.fromkeys(healthy().topics, TopicSeen()))) == []


def test_nodes_of_one_graph_in_two_discovery_ranges() -> None:
    two = (ProcessSeen(1, "robot", "/", "x", 0, "a", "LOCALHOST"), ProcessSeen(2, "policy", "/", "x", 0, "a", ""))
    (finding,) = examine(healthy(processes=two))
    assert finding.name == "ros.discovery"
    assert "policy: default, robot: LOCALHOST" in finding.found


@pytest.mark.parametrize(
    ("publisher", "subscriber", "reason"),
    [
        ((True, False), (True, False), ""),
        ((True, False), (False, False), ""),
        ((True, True), (True, False), ""),
        ((False, False), (True, False), "one sends best effort, the other wants it reliable"),
        ((True, False), (True, True), "one sends volatile, the other wants transient local"),
    ],
)
def test_qos_matches_as_ros_documents_it(publisher: Any, subscriber: Any, reason: str) -> None:
    assert mismatch(Endpoint("/a", "T", *publisher), Endpoint("/b", "T", *subscriber)) == reason


def test_a_lease_must_not_be_longer_than_the_one_asked_for() -> None:
    offered, wanted = Endpoint("/a", "T", True, False, 0.5), Endpoint("/b", "T", True, False, 0.1)
    assert "lease of 0.5 s, the other wants 0.1 s" in mismatch(offered, wanted)
    assert mismatch(wanted, offered) == ""
    assert "one sends T, the other wants U" in mismatch(offered, dataclasses.replace(offered, type="U"))
    ends = {"image": TopicSeen((offered,), (wanted,), pictures())}
    assert names(healthy(topics=ends)) == ["qos.mismatch"]


def test_many_differing_parameters_of_a_node_are_one_finding() -> None:
    (finding,) = examine(
        healthy(
            expected={"robot": {f"gate.p{i}": 1.0 for i in range(9)}},
            parameters={"robot": {f"gate.p{i}": 2 for i in range(9)}},
        )
    )
    assert finding.found.startswith("robot_node has gate.p0 = 2, the config says 1.0; gate.p1 = 2")
    assert finding.found.endswith("; and 6 more")


def test_errors_come_before_warnings() -> None:
    seen = healthy(machine=MachineSeen(gpu="a card, unused", free=1.0))
    assert [(finding.name, finding.severity) for finding in examine(seen)] == [
        ("disk.room", "error"),
        ("gpu.idle", "warning"),
    ]


def test_the_machine_is_looked_at_without_ros(tmp_path: Path) -> None:
    config = load_config([], ["robot.kind=widowx", "robot.mode=realtime", "camera.reference=nowhere.png"])
    seen = look_at_machine(config, tmp_path / "not" / "yet", "eval", 60.0)
    assert seen.folder == str(tmp_path)
    assert seen.free > 0
    assert seen.missing_files == {"camera.reference": "nowhere.png"}
    assert seen.facts["renderer"] == "not needed"
    assert (seen.weights, seen.ros) == (0, "")
