"""The bench's model: the URDF says the same as the MJCF, ports are where tasks say, unworkable benches are refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import xacro

from meld_core.config import Config, ConfigError, load_config
from meld_core.kinematics import ArmKinematics
from meld_core.sim.arm import LINKS
from meld_core.sim.engine import mujoco
from meld_core.sim.scene import check_bench, scene_xml

URDF = Path(__file__).parents[2] / "urdf"


def urdf(name: str, **mappings: str) -> ElementTree.Element:
    """An expanded xacro file."""
    return ElementTree.fromstring(xacro.process_file(str(URDF / name), mappings=mappings).toxml())


def vector(element: ElementTree.Element, path: str, attribute: str) -> list[float]:
    """Numbers of an attribute of a child."""
    found = element.find(path)
    assert found is not None
    return [float(n) for n in found.attrib[attribute].split()]


def urdf_tip(robot: ElementTree.Element, tip: str, angles: dict[str, float]) -> np.ndarray:
    """Position of a link by the chain of joints from the root (axis-aligned joints, no fixed rotations)."""
    parents = {j.find("child").attrib["link"]: j for j in robot.iter("joint") if j.find("child") is not None}  # type: ignore[union-attr]
    point = np.zeros(3)
    while tip in parents:
        joint = parents[tip]
        angle = angles.get(joint.attrib["name"], 0.0)
        if angle:
            quaternion, turned = np.empty(4), np.empty(3)
            mujoco.mju_axisAngle2Quat(quaternion, np.array(vector(joint, "axis", "xyz")), angle)
            mujoco.mju_rotVecQuat(turned, point, quaternion)
            point = turned
        point = point + vector(joint, "origin", "xyz")
        tip = joint.find("parent").attrib["link"]  # type: ignore[union-attr]
    return point


def test_urdf_joints_are_those_of_the_model() -> None:
    joints = {j.attrib["name"]: j for j in urdf("wx250s.urdf.xacro").iter("joint")}
    for link in LINKS:
        joint = joints[link.joint]
        assert vector(joint, "origin", "xyz") == list(link.origin)
        assert vector(joint, "axis", "xyz") == list(link.axis)
        assert vector(joint, "limit", "lower") + vector(joint, "limit", "upper") == [link.lower, link.upper]
        assert vector(joint, "limit", "effort") == [link.effort]
        assert vector(joint, "limit", "velocity") == [math.pi]


def test_urdf_masses_are_those_of_the_model() -> None:
    links = {link.attrib["name"]: link for link in urdf("wx250s.urdf.xacro").iter("link")}
    for link in LINKS:
        assert vector(links[link.name], "inertial/mass", "value") == [link.inertial.mass]
        moments = [vector(links[link.name], "inertial/inertia", name)[0] for name in ("ixx", "iyy", "izz")]
        assert moments == list(link.inertial.moments)


def test_urdf_and_model_have_the_same_forward_kinematics() -> None:
    robot = urdf("wx250s.urdf.xacro")
    np.testing.assert_allclose(urdf_tip(robot, "ee_gripper_link", {}), [0.458325, 0, 0.36065], atol=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(10):
        joints = rng.uniform(-1.5, 1.5, 6)
        tip = urdf_tip(robot, "plug_tip", dict(zip([link.joint for link in LINKS], joints, strict=True)))
        np.testing.assert_allclose(tip, ArmKinematics().forward(joints)[0], atol=1e-9)


def test_urdf_prefix_gives_interbotix_link_names() -> None:
    links = {link.attrib["name"] for link in urdf("wx250s.urdf.xacro", prefix="wx250s/").iter("link")}
    assert {"wx250s/base_link", "wx250s/gripper_link", "wx250s/ee_gripper_link"} <= links


def test_urdf_box_stands_at_the_tasks_mean_pose() -> None:
    task, robot = Config().task, urdf("insertion.urdf.xacro")
    joints = {j.attrib["name"]: j for j in robot.iter("joint")}
    assert vector(joints["box"], "origin", "xyz") == list(task.box_center)
    offsets = [vector(joints[f"port_{i}"], "origin", "xyz")[1] for i in range(task.ports)]
    assert offsets == [-task.port_spacing, 0.0, task.port_spacing]


@pytest.mark.parametrize("ports", [2, 3, 4])
def test_a_plug_falls_through_every_port_and_through_nothing_else(ports: int) -> None:
    """A ray straight down meets the bottom 20 mm below the mouth in a port, and the top face between ports."""
    config = load_config(overrides=[f"task.ports={ports}"])
    model = mujoco.MjModel.from_xml_string(scene_xml(config))
    data = mujoco.MjData(model)
    data.qpos[1] = -1.5  # the arm is out of the way
    mujoco.mj_forward(model, data)
    for port in range(ports):
        y = (port - (ports - 1) / 2) * 0.044
        for dx, dy in ((0, 0), (0.0129, 0.0166), (-0.0129, -0.0166)):  # half of 16 + 10 mm and of 23.4 + 10 mm
            assert depth_below(model, data, 0.3 + dx, y + dy) == pytest.approx(0.020)
        assert depth_below(model, data, 0.3 + 0.0131, y) == pytest.approx(0.0)
        assert depth_below(model, data, 0.3, y + 0.022) == pytest.approx(0.0)


def depth_below(model: Any, data: Any, x: float, y: float) -> float:
    """How far below the box's top face a ray from above meets a part that can be touched [m]."""
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    start = np.array([x, y, 0.1])
    for geom in range(model.ngeom):
        if model.geom_contype[geom] == 0:
            model.geom_group[geom] = 5  # seen, not touched
    distance = mujoco.mj_ray(model, data, start, np.array([0.0, 0, -1]), groups, 1, -1, np.zeros(1, np.int32), None)
    return float(0.06 - (0.1 - distance))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["task.clearance=0.01"], r"leave 0.0006 m of wall between ports"),
        (["task.clearance=0.001"], r"task.clearance 0.001 m turned by task.box_yaw_range 0.15 rad"),
        (["task.box_center=[0.3, 0, 0.02]"], r"its top face 0.02 m above the table"),
        (["task.ports=6"], r"robot.workspace_size .* does not reach all 6 ports"),
        (["task.depth=0.02", "task.box_center=[0.3, 0, 0.08]"], r"robot.workspace_below 0.015 m does not let"),
        (["sim.views=[external, wirst]"], r"unknown view 'wirst'; did you mean 'wrist'"),
        (["reward.region=[0, 0, 20, 20]"], r"reward.region \[0, 0, 20, 20\] misses the LED"),
        (["sim.detector_size=128"], r"misses the LED, which a simulated detector view of 128 px shows between"),
    ],
)
def test_an_unworkable_bench_is_one_clear_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_bench(load_config(overrides=overrides))


@pytest.mark.parametrize("clearance", [0.008, 0.005, 0.003])
def test_benches_from_easy_to_hard_are_fine(clearance: float) -> None:
    config = Config()
    check_bench(dataclasses.replace(config, task=dataclasses.replace(config.task, clearance=clearance)))
