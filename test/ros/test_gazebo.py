"""The Gazebo files, without a Gazebo: well formed, and the same bench and arm as the simulation's."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xacro
import yaml

from meld_core.config import Config
from meld_core.sim.arm import JOINT_NAMES
from meld_core.sim.engine import mujoco
from meld_core.sim.scene import box_half_size, scene_xml
from meld_core.tasks import port_positions
from meld_ros.share import resolve_config

from .launch_recorder import execute

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "config" / "gazebo"
BOX, DETECTOR, EXTERNAL = "model[@name='box']", "model[@name='detector_camera']", "model[@name='external_camera']"


@pytest.fixture(scope="module")
def world() -> ElementTree.Element:
    found = ElementTree.parse(FILES / "insertion.sdf").getroot().find("world")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def arm() -> ElementTree.Element:
    return ElementTree.fromstring(xacro.process_file(str(ROOT / "urdf" / "gazebo.urdf.xacro")).toxml())


@pytest.fixture(scope="module")
def bridge() -> list[dict[str, str]]:
    entries: list[dict[str, str]] = yaml.safe_load((FILES / "bridge.yaml").read_text())
    return entries


def numbers(element: ElementTree.Element, path: str) -> np.ndarray:
    return np.array([float(number) for number in str(element.findtext(path)).split()])


def test_the_box_is_that_of_the_simulation(world: ElementTree.Element) -> None:
    """Every collision box of the box model lies where MuJoCo's standing geoms lie."""
    config = Config()
    model = mujoco.MjModel.from_xml_string(scene_xml(config))
    box = model.body("box").id
    standing = [i for i in range(model.ngeom) if model.geom_bodyid[i] == box and model.geom_contype[i] == 2]
    simulated = sorted((*model.geom_pos[i].round(5), *(2 * model.geom_size[i]).round(5)) for i in standing)
    link = world.find(f"{BOX}/link")
    assert link is not None
    shipped = sorted(
        (*numbers(part, "pose")[:3].round(5), *numbers(part, "geometry/box/size").round(5))
        for part in link.iter("collision")
    )
    np.testing.assert_allclose(shipped, simulated, atol=1e-5)
    assert numbers(world, f"{BOX}/pose")[:3].tolist() == list(config.task.box_center)
    assert numbers(link, "visual[@name='led']/pose")[0] == pytest.approx(box_half_size(config.task)[0])


def test_the_ports_are_where_tasks_have_them(world: ElementTree.Element) -> None:
    task = Config().task
    center = numbers(world, f"{BOX}/pose")[:3]
    for index, port in enumerate(port_positions(task, task.box_center, 0.0)):
        place = center + numbers(world, f"{BOX}/link/visual[@name='port_{index}']/pose")[:3]
        assert place[:2] == pytest.approx(port[:2], abs=1e-6)


@pytest.mark.parametrize(("camera", "model_name"), [("external", EXTERNAL), ("detector", DETECTOR)])
def test_cameras_look_as_the_simulated_ones(world: ElementTree.Element, camera: str, model_name: str) -> None:
    """An SDF camera looks along its x axis, a MuJoCo camera along -z; both have z, or y, upwards in the picture."""
    model = mujoco.MjModel.from_xml_string(scene_xml(Config()))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    x, y, z, roll, pitch, yaw = numbers(world, f"{model_name}/pose")
    assert roll == 0
    np.testing.assert_allclose([x, y, z], data.camera(camera).xpos, atol=1e-4)
    looks = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), -np.sin(pitch)])
    np.testing.assert_allclose(looks, -data.camera(camera).xmat.reshape(3, 3)[:, 2], atol=1e-3)
    opening = numbers(world, f"{model_name}/link/sensor/camera/horizontal_fov")[0]
    assert np.degrees(opening) == pytest.approx(model.camera(camera).fovy[0], abs=0.05)


def test_the_wrist_camera_sits_as_the_simulated_one(arm: ElementTree.Element) -> None:
    model = mujoco.MjModel.from_xml_string(scene_xml(Config()))
    joint = next(joint for joint in arm.iter("joint") if joint.get("name") == "wrist_camera")
    origin = joint.find("origin")
    assert origin is not None
    place = [float(number) for number in str(origin.get("xyz")).split()]
    assert place == pytest.approx(model.camera("wrist").pos.tolist())
    pitch = numbers(arm, "gazebo/sensor/pose")[4]
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.camera("wrist").quat)
    looks = -rotation.reshape(3, 3)[:, 2]
    assert [np.cos(pitch), 0, -np.sin(pitch)] == pytest.approx(looks.tolist(), abs=1e-3)


def test_joints_are_those_that_the_adapter_commands(arm: ElementTree.Element) -> None:
    controlled = arm.find("ros2_control")
    assert controlled is not None
    assert tuple(joint.get("name") for joint in controlled.iter("joint")) == JOINT_NAMES
    controllers = yaml.safe_load((FILES / "controllers.yaml").read_text())
    assert tuple(controllers["/**/arm_controller"]["ros__parameters"]["joints"]) == JOINT_NAMES
    assert {joint.get("name") for joint in arm.findall("joint")} >= set(JOINT_NAMES)


def test_topics_meet(world: ElementTree.Element, arm: ElementTree.Element, bridge: list[dict[str, str]]) -> None:
    """Gazebo's sensors → bridge → camera_node; the plugin's namespace and controller → the adapter's topics."""
    assert all(
        entry.keys() == {"ros_topic_name", "gz_topic_name", "ros_type_name", "gz_type_name", "direction"}
        for entry in bridge
    )
    published = {f"/{topic.text}" for root in (world, arm) for topic in root.iter("topic")}
    images = {entry["gz_topic_name"] for entry in bridge if entry["ros_type_name"] == "sensor_msgs/msg/Image"}
    assert images == published
    config = resolve_config("ros2_control", config="gazebo")
    devices = {c.device.removeprefix("topic:") for c in (config.camera, config.wrist_camera, config.detector_camera)}
    assert devices == {entry["ros_topic_name"] for entry in bridge if "Image" in entry["ros_type_name"]}
    namespace = arm.findtext("gazebo/plugin/ros/namespace")
    assert config.driver.trajectory == f"{namespace}/arm_controller/joint_trajectory"
    assert config.driver.joint_states == f"{namespace}/joint_states"


def test_the_launch_file_starts_gazebo_arm_controllers_and_bridge() -> None:
    recording = execute(ROOT / "launch" / "gazebo.launch.py", headless="true")
    assert [argument.name for argument in recording.arguments] == ["headless"]
    (gazebo,) = recording.processes
    assert gazebo.cmd[:4] == ["gz", "sim", "-r", "-s"]
    assert Path(gazebo.cmd[-1]).is_file()
    nodes = {node.name: node for node in recording.nodes}
    assert {node.package for node in recording.nodes} == {
        "robot_state_publisher", "ros_gz_sim", "ros_gz_bridge", "controller_manager",
    }  # fmt: skip
    description = ElementTree.fromstring(nodes["robot_state_publisher"].parameters[0]["robot_description"])
    assert Path(str(description.findtext("gazebo/plugin/parameters"))).is_file()
    assert Path(nodes["bridge"].parameters[0]["config_file"]).is_file()
    spawned = [node.arguments[0] for node in recording.nodes if node.executable == "spawner"]
    assert spawned == ["joint_state_broadcaster", "arm_controller"]
