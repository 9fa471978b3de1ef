"""What RViz is shown, and that config/rviz/meld.rviz asks for exactly that: names, types and QoS of a running graph."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from meld_core.announce import GateReport
from meld_core.config import Config
from meld_core.robot import GateState
from meld_core.sim.arm import NOMINAL_JOINTS
from meld_core.storage.run_folder import RunFolder
from meld_ros import conversions as msgs
from meld_ros import markers
from meld_ros.belief_view import BeliefView
from meld_ros.view_node import ViewNode

from .conftest import ROOT, Ros
from .stand_ins import Listener, parameters

RVIZ = yaml.safe_load((ROOT / "config" / "rviz" / "meld.rviz").read_text())["Visualization Manager"]
TYPES = {
    "RobotModel": "std_msgs/msg/String",
    "Pose": "geometry_msgs/msg/PoseStamped",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Image": "sensor_msgs/msg/Image",
}
"""Display of rviz_default_plugins → the message that it subscribes (ros2/rviz, rviz_default_plugins/displays)."""


def test_every_display_of_the_rviz_file_names_a_topic_of_the_graph(ros: Ros, small: Config, run: RunFolder) -> None:
    ros.start_graph("train", small, run, "robot", "reward", "policy", "teleop", "view")
    listener = Listener(ros)
    wanted: dict[str, tuple[str, dict[str, Any]]] = {}
    for display in RVIZ["Displays"]:
        kind = display["Class"].removeprefix("rviz_default_plugins/")
        if kind in TYPES:
            topic = display.get("Topic") or display["Description Topic"]
            wanted[f"/{topic['Value']}"] = (TYPES[kind], topic)
        elif kind == "InteractiveMarkers":
            wanted[f"/{display['Interactive Markers Namespace']}/update"] = (
                "visualization_msgs/msg/InteractiveMarkerUpdate",
                {},
            )
        else:
            assert kind == "Grid", f"this test does not know the display {kind}"
    node = listener.node
    ros.until(lambda: all(node.count_publishers(topic) for topic in wanted), f"publishers of {list(wanted)}")
    known = dict(node.get_topic_names_and_types())
    for topic, (kind, given) in wanted.items():
        assert known[topic] == [kind], topic
        (offered,) = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
        if given.get("Durability Policy") == "Transient Local":
            assert offered.durability == DurabilityPolicy.TRANSIENT_LOCAL, topic
        if given.get("Reliability Policy") == "Reliable":
            assert offered.reliability == ReliabilityPolicy.RELIABLE, topic
    services = dict(node.get_service_names_and_types())
    assert "/teleop/marker/get_interactive_markers" in services
    (point,) = [tool["Topic"]["Value"] for tool in RVIZ["Tools"] if "Topic" in tool]
    assert node.count_subscribers(point) == 1
    assert RVIZ["Global Options"]["Fixed Frame"] == msgs.BASE_FRAME


class Transforms:
    """What tf2_ros would be told; its class TransformBroadcaster(node) has sendTransform(list)."""

    sent: ClassVar[list[Any]] = []

    def __init__(self, node: Any) -> None:
        assert node.get_name() == "view"

    def sendTransform(self, transforms: list[Any]) -> None:
        Transforms.sent = transforms


@pytest.mark.parametrize("has_tf", [True, False])
def test_arm_box_trail_and_gate_are_shown(
    ros: Ros, small: Config, monkeypatch: pytest.MonkeyPatch, has_tf: bool
) -> None:
    monkeypatch.setitem(
        sys.modules, "tf2_ros", types.SimpleNamespace(TransformBroadcaster=Transforms) if has_tf else None
    )
    ros.node(ViewNode, **parameters(small))
    probe = ros.probe()
    scenes: list[MarkerArray] = []
    described: list[str] = []
    msgs.subscription(probe, markers.SCENE, scenes.append)
    msgs.subscription(probe, markers.ROBOT_DESCRIPTION, lambda msg: described.append(msg.data))
    gate, tool = msgs.publisher(probe, msgs.GATE_STATE), msgs.publisher(probe, msgs.TOOL_POSE)
    joints = msgs.publisher(probe, msgs.JOINT_STATES)
    ros.until(lambda: tool.get_subscription_count() and joints.get_subscription_count() and described, "the view")
    assert '<robot name="insertion"' in described[0]
    report = GateReport(GateState.TELEOP, "why", None, 0, (), "")
    gate.publish(String(data=report.to_json()))
    for place in ([0.30, 0.0, 0.08], [0.31, 0.0, 0.08], [0.3101, 0.0, 0.08]):
        tool.publish(msgs.pose_to_msg(np.array(place), np.array([0.0, 0.0, 0.0, 1.0]), 1))
    names = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
    joints.publish(msgs.joints_to_msg(names, np.array(NOMINAL_JOINTS), np.zeros(6), 10**9))

    def shown() -> dict[str, Marker]:
        return {marker.ns: marker for marker in scenes[-1].markers} if scenes else {}

    ros.until(lambda: {"workspace", "trail", "gate"} <= shown().keys(), "all of it")
    assert len(shown()["workspace"].points) == 24
    assert [point.x for point in shown()["trail"].points] == [0.30, 0.31], "a tenth of a millimetre is no way"
    assert shown()["gate"].text == "TELEOP\nwhy"
    if has_tf:
        ros.until(lambda: Transforms.sent, "the transforms")
        sent = {(t.header.frame_id, t.child_frame_id) for t in Transforms.sent}
        assert ("base_link", "shoulder_link") in sent
        assert {t.header.stamp.sec for t in Transforms.sent} == {1}


class Believing:
    """An agent whose belief is known."""

    def __init__(self) -> None:
        self.said: tuple[np.ndarray, np.ndarray] | None = None

    def believed_ports(self) -> tuple[np.ndarray, np.ndarray] | None:
        return self.said


def test_the_belief_is_shown_as_balls_and_as_a_strip(ros: Ros, small: Config, tmp_path: Path) -> None:
    agent, probe = Believing(), ros.probe()
    view = BeliefView(ros.probe(), small, agent)  # type: ignore[arg-type]
    balls: list[MarkerArray] = []
    strips: list[Image] = []
    msgs.subscription(probe, markers.BELIEF_MARKERS, balls.append)
    msgs.subscription(probe, markers.BELIEF_IMAGE, strips.append)
    view.begin(0)
    view.show(1)
    agent.said = np.array([[0.30, -0.044, 0.06], [0.30, 0.0, 0.06]]), np.array([0.0, 1.0])

    def heard() -> bool:
        view.show(2)
        return bool(balls and strips)

    ros.until(heard, "balls and strip")
    dark, _, yellow, text = balls[-1].markers
    assert (round(dark.pose.position.y, 3), round(yellow.pose.position.y, 3)) == (-0.044, 0.0)
    assert [round(255 * part) for part in (yellow.color.r, yellow.color.g, yellow.color.b)] == [250, 214, 90]
    assert text.text == "port 2: 1.00"
    assert (strips[-1].height, strips[-1].width) == (48, 640)
