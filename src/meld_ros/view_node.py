"""view_node: what RViz shows of the robot's side: the arm, its workspace, the tool's trail, the gate's state."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from meld_core.announce import GateReport
from meld_core.arm.urdf_tree import Transform, UrdfTree
from meld_core.config import Config
from meld_core.teleop.scene import GATE_COLORS, Trail, box_edges, gate_text, text_position
from meld_ros import conversions as ros
from meld_ros import markers
from meld_ros.description import robot_description
from meld_ros.diagnostics import OK, Diagnostics
from meld_ros.node_main import read_config, refuse_unknown, run_node
from meld_ros.qos import SENSOR_QOS


class ViewNode(Node):
    """Only looks.

    Subscribes: `gate_state`, `joint_states`, `tool_pose`.
    Publishes: `robot_description` and `scene`, latched; transforms, where tf2_ros is installed.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("view", **kwargs)
        self._config = config = read_config(self, [field.name for field in dataclasses.fields(Config)])
        refuse_unknown(self)
        self.finished = False
        self._diagnostics = Diagnostics(self)
        self._diagnostics.state(OK, "looking")
        self._trail = Trail(config.teleop.trail)
        self._scene = ros.publisher(self, markers.SCENE)
        self._description = ros.publisher(self, markers.ROBOT_DESCRIPTION)
        self._tree = self._describe()
        self._broadcaster = self._find_broadcaster() if self._tree else None
        self._report: GateReport | None = None
        sensor = SENSOR_QOS if config.robot.mode == "realtime" else None
        ros.subscription(self, ros.GATE_STATE, self._on_gate)
        ros.subscription(self, ros.TOOL_POSE, self._on_tool, sensor)
        ros.subscription(self, ros.JOINT_STATES, self._on_joints, sensor)
        self._show()

    def _describe(self) -> UrdfTree | None:
        try:
            urdf = robot_description(self._config)
        except ImportError:
            self.get_logger().warning("xacro is not installed: RViz gets no model of the arm")
            return None
        self._description.publish(String(data=urdf))
        return UrdfTree(urdf)

    def _find_broadcaster(self) -> Any:
        try:
            from tf2_ros import TransformBroadcaster
        except ImportError:
            self.get_logger().warning("tf2_ros is not installed: nobody is told where the arm's links are")
            return None
        return TransformBroadcaster(self)

    def _on_joints(self, msg: JointState) -> None:
        if self._broadcaster is None or self._tree is None:
            return
        transforms = self._tree.transforms(dict(zip(msg.name, msg.position, strict=False)))
        self._broadcaster.sendTransform([_transform(transform, msg.header.stamp) for transform in transforms])

    def _on_gate(self, msg: String) -> None:
        try:
            self._report = GateReport.from_json(msg.data)
        except ValueError as error:
            self._diagnostics.refuse("gate_state", str(error))
        self._show()

    def _on_tool(self, msg: PoseStamped) -> None:
        try:
            position = ros.pose_from_msg(msg)[0]
        except ValueError as error:
            self._diagnostics.refuse("tool_pose", str(error))
            return
        if self._trail.add(position):
            self._show()

    def _show(self) -> None:
        shown = [markers.lines("workspace", box_edges(self._config), (0.6, 0.6, 0.65), strip=False, width=0.001)]
        if len(self._trail.points) > 1:
            shown.append(markers.lines("trail", self._trail.points, (0.95, 0.8, 0.3), strip=True, width=0.0015))
        if self._report is not None:
            place, color = text_position(self._config), GATE_COLORS[self._report.state]
            shown.append(markers.text("gate", gate_text(self._report), place, color=color, height=0.012))
        self._scene.publish(MarkerArray(markers=shown))

    def close(self) -> None:
        """Nothing is held."""


def _transform(transform: Transform, stamp: Any) -> TransformStamped:
    msg = TransformStamped(child_frame_id=transform.child)
    msg.header.frame_id, msg.header.stamp = transform.parent, stamp
    place, turn = msg.transform.translation, msg.transform.rotation
    place.x, place.y, place.z = (float(part) for part in transform.translation)
    turn.x, turn.y, turn.z, turn.w = (float(part) for part in np.asarray(transform.rotation))
    return msg


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(ViewNode, args)


if __name__ == "__main__":
    main()
